"""A dealer's port as workers find it: gRPC over mutual TLS, and what it does with a stream is the test's business."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

from parties.dealer_link import DEALER_OPTIONS, SERVICE
from parties.tls import TlsKey

Act = Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]


def echo(requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
    """Every message comes back, until the party ends its half."""
    yield from requests


def start(key: TlsKey, roots: str, act: Act = echo) -> tuple[grpc.Server, str]:
    """A server that shows this key and admits callers under these certificates, and its address."""
    server = grpc.server(ThreadPoolExecutor(8), options=DEALER_OPTIONS)
    handler = grpc.stream_stream_rpc_method_handler(act)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Session": handler}),))
    credentials = grpc.ssl_server_credentials(
        [(key.key_pem, key.certificate.encode())], roots.encode(), require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    return server, f"127.0.0.1:{port}"


def main() -> None:
    """As a process: key, a line of dots, certificate, dots and roots come in; the address goes out."""
    key, certificate, roots = sys.stdin.read().split("\n...\n")
    server, address = start(TlsKey.from_pem(key.encode(), certificate), roots)
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()
    server.wait_for_termination()


if __name__ == "__main__":
    main()

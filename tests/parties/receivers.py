"""A webhook's receiver: a real HTTPS server that a test tells what to answer, and that keeps what came."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.certificates import self_signed

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Came:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Receiver:
    """`answers` are the next statuses; after them it takes everything. 0 breaks the connection off."""

    directory: Path
    answers: list[int] = field(default_factory=list)
    location: str = ""  # of redirects
    came: list[Came] = field(default_factory=list)
    hangs: threading.Event | None = None  # answers no request before it is set

    @property
    def certificate(self) -> Path:
        return self.directory / "receiver.pem"

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.certificate)

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve while inside; tells its address."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.came.append(Came(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                if receiver.hangs is not None:
                    receiver.hangs.wait()
                    self.close_connection = True
                    return
                status = receiver.answers.pop(0) if receiver.answers else 204
                if not status:
                    self.close_connection = True
                    return
                self.send_response(status)
                if receiver.location:
                    self.send_header("location", receiver.location)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        write_certificate(self.certificate)
        server = ThreadingHTTPServer((HOST, 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"https://{HOST}:{server.server_port}"
        finally:
            if self.hangs is not None:
                self.hangs.set()
            server.shutdown()
            server.server_close()
            thread.join()


def write_certificate(path: Path) -> None:
    """Key and certificate of this machine, self-signed."""
    key, made = self_signed(HOST, x509.IPAddress(IPv4Address(HOST)))
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    path.write_bytes(key.private_bytes(pem, form, none) + made.public_bytes(pem))

"""A daemon's stream to the gateway: dialled by the daemon, kept up, JSON messages each way over mutual TLS."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version

import grpc
import rfc8785
import structlog
from cryptography import x509
from cryptography.x509.oid import NameOID

from parties.errors import GatewayError
from parties.service.home import Home
from parties.service.messages import (
    INTRODUCTION_TYPE,
    MAX_MESSAGE_BYTES,
    SERVICE,
    STREAM,
    FromDaemon,
    FromGateway,
    Hello,
    Introduction,
    Rejected,
    decode_from_gateway,
    encode,
)

LONGEST_WAIT_S = 2.0
OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 4000),
    ("grpc.keepalive_timeout_ms", 4000),
    ("grpc.http2.ping_timeout_ms", 4000),  # else an unanswered ping is waited for a minute
    ("grpc.http2.min_ping_interval_without_data_ms", 3000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
]

log = structlog.get_logger("privity")


class ControlStream:
    """Sends what is queued, hands what comes to a handler, reconnects for ever."""

    def __init__(
        self,
        home: Home,
        on_connect: Callable[[], list[FromDaemon]],
        on_message: Callable[[FromGateway], Awaitable[None]],
    ) -> None:
        self._home, self._on_connect, self._on_message = home, on_connect, on_message
        self._outbox: deque[bytes] = deque()
        self._queued = asyncio.Event()
        self._connection = 0  # its number: what reads the outbox for an earlier one must stop
        self.connected = asyncio.Event()

    def send(self, message: FromDaemon) -> None:
        """Queue a message; it survives a reconnect until a stream has taken it, and may then come twice.

        Raises: GatewayError if it is too long.
        """
        self._outbox.append(encode(message))
        self._queued.set()

    async def run(self) -> None:
        """Never returns.

        Raises: GatewayError if the gateway rejects this daemon or speaks nonsense, PartnerError if it shows another
        certificate than the invitation names.
        """
        wait_s = 0.1
        for tries in itertools.count():
            gateways = self._home.settings.every_gateway
            address = gateways[tries % len(gateways)]
            try:
                await self._once(address)
                wait_s = 0.1
            except (grpc.aio.AioRpcError, OSError) as exc:
                details = exc.details() if isinstance(exc, grpc.aio.AioRpcError) else str(exc)
                log.warning("gateway away", gateway=address, details=details, retry_s=wait_s)
            finally:
                self._connection += 1
                self.connected.clear()
            await asyncio.sleep(wait_s)
            wait_s = min(LONGEST_WAIT_S, 2 * wait_s)

    async def _once(self, address: str) -> None:
        """One connection, until it ends."""
        certificate = await asyncio.to_thread(self._home.gateway_certificate, address)
        tls = self._home.tls
        credentials = grpc.ssl_channel_credentials(certificate.encode(), tls.key_pem, tls.certificate.encode())
        options = [*OPTIONS, ("grpc.ssl_target_name_override", common_name(certificate))]
        greeting = [encode(message) for message in (self._hello(), *self._on_connect())]
        async with grpc.aio.secure_channel(address, credentials, options) as channel:
            stream = channel.stream_stream(f"/{SERVICE}/{STREAM}")(self._messages(greeting, self._connection))
            async for content in stream:
                self.connected.set()
                message = decode_from_gateway(content)
                if isinstance(message, Rejected):
                    raise GatewayError(
                        f"the gateway rejects this daemon: {message.fault.what}", action=message.fault.action
                    )
                await self._on_message(message)

    async def _messages(self, greeting: list[bytes], connection: int) -> AsyncIterator[bytes]:
        """The greeting, then the outbox, for as long as this connection is the latest."""
        for content in greeting:
            yield content
        while True:
            while not self._outbox:
                self._queued.clear()
                await self._queued.wait()
            # gRPC never ends an iterator whose stream broke: it would take the next connection's first message.
            if connection != self._connection:
                return
            yield self._outbox[0]
            if connection != self._connection:
                return
            self._outbox.popleft()  # only now has the stream taken it

    def _hello(self) -> Hello:
        settings, identity = self._home.settings, self._home.identity
        introduction = Introduction(
            name=settings.name,
            role=settings.role,
            public_key=identity.public.hex(),
            certificate_sha256=self._home.tls.sha256,
        )
        envelope = identity.seal(INTRODUCTION_TYPE, rfc8785.dumps(introduction.model_dump(mode="json")))
        return Hello(introduction=envelope, handovers=tuple(self._home.handovers.chain()), version=version("privity"))


def common_name(certificate: str) -> str:
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    return str(parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

"""The control plane's server: one gRPC stream a daemon, mutual TLS, JSON messages as raw bytes.

TLS trusts the authorities of open invitations and of participants, asked for anew at each handshake; which of them
speaks, and whether with the key that joined, `admission.py` decides from the first message. A stream whose peer has
gone silent is noticed within five seconds.

BUG: gRPC frees its credentials under a handshake that took hold of them before they are replaced (its issue 36693), and
the gateway may die. They are replaced only when there is an invitation more or less, after a moment for handshakes
under way; a service manager starts it again, and no session is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from typing import Any

import grpc
import grpc.aio
import structlog

from gateway.coordination.admission import admit
from gateway.coordination.journal import Journal
from gateway.coordination.sessions import Sessions
from gateway.errors import StoreAway
from gateway.settings import GatewaySettings
from gateway.storage.store import Member, Store
from mpc.errors import PrivityError
from parties.errors import GatewayError, PartnerError, SettingsError
from parties.keys.tls import TlsKey, certificate_sha256, utc_now
from parties.service.messages import (
    MAX_MESSAGE_BYTES,
    SERVICE,
    STREAM,
    Fault,
    FromGateway,
    Hello,
    Rejected,
    decode_from_daemon,
    encode,
)
from parties.service.overview import OVERVIEW, Listed, Overview
from parties.web.addresses import parse_address

log = structlog.get_logger()

PING_MS = 2_500  # a silent peer is pinged so often ...
SILENCE_MS = 2_500  # ... and given up after so long without an answer
SETTLE_S = 0.05  # for handshakes under way, before what they were begun with is replaced
OPTIONS = (
    ("grpc.keepalive_time_ms", PING_MS),
    ("grpc.keepalive_timeout_ms", SILENCE_MS),
    ("grpc.http2.ping_timeout_ms", SILENCE_MS),  # without it an unanswered ping is waited for during a minute
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # a second gateway on the port is an error, not a lottery
)


class StreamLine:
    """One admitted stream, as the coordinator sees it: messages wait here for the stream's own writer."""

    def __init__(self) -> None:
        self._outgoing: asyncio.Queue[FromGateway | None] = asyncio.Queue()

    def send(self, message: FromGateway) -> None:
        self._outgoing.put_nowait(message)

    def close(self) -> None:
        self._outgoing.put_nowait(None)

    async def drain(self, context: Any, on_sent: Callable[[str, int], None]) -> None:
        """Write until closed; tell each message's type and bytes."""
        while (message := await self._outgoing.get()) is not None:
            content = encode(message)
            await context.write(content)
            on_sent(message.type, len(content))


class Control:
    """The handler of all streams, and of those who ask who is there."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        sessions: Sessions,
        settings: GatewaySettings,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store, self._journal, self._sessions = store, journal, sessions
        self._settings, self._clock = settings, clock

    async def stream(self, _requests: object, context: Any) -> None:
        """Serve one daemon until it goes, is replaced, or says what it must not."""
        try:
            member, hello = await self._introduced(context)
            await self._serve(member.name, hello.version, context)
        except StoreAway as exc:  # no fault of the daemon's, which tries again
            log.warning("stream ended", peer=context.peer(), error=str(exc))
            await context.abort(grpc.StatusCode.UNAVAILABLE, exc.what)
        except PrivityError as exc:
            log.warning("stream refused", peer=context.peer(), error=str(exc))
            await context.write(encode(Rejected(fault=Fault.of(exc, "gateway"))))

    async def _introduced(self, context: Any) -> tuple[Member, Hello]:
        try:
            async with asyncio.timeout(self._settings.hello_s):
                hello = await _read(context)
        except TimeoutError as exc:
            raise GatewayError(f"no introduction came within {self._settings.hello_s:g} s") from exc
        if not isinstance(hello, Hello):
            raise GatewayError("the first message of a stream must be an introduction", action="update the daemon")
        with self._store.transaction() as rows:
            return admit(rows, self._journal, hello, _peer_certificate(context), self._clock()), hello

    async def _serve(self, name: str, version: str, context: Any) -> None:
        line = StreamLine()
        log.info("connected", who=name)
        writer = asyncio.create_task(line.drain(context, self._sessions.sent))
        reader = asyncio.create_task(self._listen(name, context))
        try:
            self._sessions.connected(name, line, version)
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._sessions.disconnected(name, line)
            log.info("disconnected", who=name)
            await _cancel(writer)
            await _cancel(reader)
        if reader.done() and not reader.cancelled():
            reader.result()

    async def _listen(self, name: str, context: Any) -> None:
        while (message := await _read(context)) is not None:
            self._sessions.received(name, message)

    async def overview(self, _request: bytes, context: Any) -> bytes:
        """What a participant's operator asks for: the time, and everybody's key; nothing for who has not joined."""
        try:
            shown = certificate_sha256(_peer_certificate(context))
            listed = self._sessions.listed()
        except StoreAway as exc:
            await context.abort(grpc.StatusCode.UNAVAILABLE, exc.what)
        if not any(member.certificate_sha256 == shown for member, _ in listed):
            log.warning("overview refused", peer=context.peer())
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this certificate has not joined")
        told = Overview(
            gateway=self._settings.name,
            version=version("privity"),
            at=self._clock(),
            participants=tuple(
                Listed(
                    name=member.name,
                    role=member.role,
                    public_key=member.public_key,
                    version=member.version or "",
                    online=online,
                    left=member.left,
                )
                for member, online in listed
            ),
        )
        return told.model_dump_json().encode()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, grpc.RpcError, PrivityError):
        await task


async def _read(context: Any) -> Any:
    """The next message; None at the stream's end."""
    content = await context.read()
    return None if content is grpc.aio.EOF else decode_from_daemon(content)


def _peer_certificate(context: Any) -> str:
    shown = context.auth_context().get("x509_pem_cert")
    if not shown:
        raise PartnerError("a stream came without a certificate")
    pem: str = shown[0].decode()
    return pem


def server(
    control: Control, store: Store, settings: GatewaySettings, key: TlsKey, clock: Callable[[], datetime] = utc_now
) -> tuple[grpc.aio.Server, int]:
    """A gRPC server for this handler, bound and not started yet, and its port.

    Raises: SettingsError if the address can't be listened on.
    """
    made = grpc.aio.server(options=OPTIONS)
    handlers = {
        STREAM: grpc.stream_stream_rpc_method_handler(control.stream),
        OVERVIEW: grpc.unary_unary_rpc_method_handler(control.overview),
    }
    made.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    address = parse_address(settings.control_address)
    try:
        port: int = made.add_secure_port(str(address), _credentials(store, settings, key, clock))
    except RuntimeError as exc:
        raise SettingsError(
            f"control_address: can't listen on {address}", action="see what else listens there, or choose another port"
        ) from exc
    return made, port


def _credentials(store: Store, settings: GatewaySettings, key: TlsKey, clock: Callable[[], datetime]) -> Any:
    """The gateway's certificate, and the invitations under which whoever dials must have signed its own.

    gRPC asks `fetch` at every handshake. It is given something only when there is something new: replaced at each,
    credentials were freed under other handshakes, and thousands of refused ones brought a gateway down. While others
    wait for what is new, those before them finish.
    """
    pair = ((key.key_pem, key.certificate.encode()),)

    def roots() -> bytes:
        """With no invitation at all the gateway's own certificate stands in, under which nobody can sign."""
        return store.authorities(clock(), settings.invitation_hours) or key.certificate.encode()

    known = roots()

    def fetch() -> Any:
        nonlocal known
        try:
            found = roots()
        except StoreAway:
            log.exception("invitations can't be read; the ones known before hold")
            return None
        if found == known:
            return None
        known = found
        time.sleep(SETTLE_S)
        return grpc.ssl_server_certificate_configuration(pair, found)

    first = grpc.ssl_server_certificate_configuration(pair, known)
    return grpc.dynamic_ssl_server_credentials(first, fetch, require_client_authentication=True)

"""The dealer's daemon: one gRPC port, one process a session, and bytes relayed between the two.

It checks contracts and signs like a party, but holds no data: it learns who trains with whom, sizes, and its own masks.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Literal

import grpc
import structlog

from parties.contract import Contract
from parties.daemon import Daemon, Live
from parties.dealer_link import DEALER_OPTIONS, EPOCH_KEY, SERVICE, SESSION_KEY
from parties.desk import Desk
from parties.errors import LifecycleError
from parties.home import Home
from parties.job import Answer, DealerJob, Done, Report
from parties.supervisor import Process
from parties.tls import DAEMON_DAYS, TlsKey, certificate_sha256

LENGTH = struct.Struct("<I")
PROCESS = (sys.executable, "-P", "-m", "parties.dealer_worker")

log = structlog.get_logger("privity")


class Dealer(Daemon):
    role: Literal["node", "dealer"] = "dealer"

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self._server: grpc.aio.Server | None = None
        self._port = 0
        self._tls = TlsKey.generate(self.name, now=datetime.now(UTC), days=DAEMON_DAYS)  # new at each start
        self._relays: dict[tuple[str, str], socket.socket] = {}  # (session, party) -> our end

    def examine(self, contract: Contract) -> None:
        """Nothing more than every participant checks."""

    def inspect(self, contract: Contract) -> None:
        """It has no data."""

    def signs_by_itself(self) -> bool:
        """A dealer signs for partners that its operator confirmed; it gives away nothing but randomness."""
        return True

    def session_key(self) -> TlsKey:
        """One key for all sessions: they share the port."""
        return self._tls

    async def launch(self, live: Live, epoch: int) -> Process:
        """One process, with a stream for each party."""
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM) for _ in live.contract.parties]
        job = DealerJob(
            name=self.name,
            contract=live.contract.canonical().decode(),
            epoch=epoch,
            link_fds=tuple(theirs.fileno() for _, theirs in pairs),
        )
        process = await Process.start(job, job.link_fds, PROCESS)
        for party, (ours, theirs) in zip(live.contract.parties, pairs, strict=True):
            theirs.close()
            ours.setblocking(False)
            self._relays[live.contract.digest, party.name] = ours
        return process

    async def on_report(self, live: Live, report: Report) -> Answer | None:
        return None

    def finish(self, live: Live, done: Done) -> None:
        """Nothing stays here."""

    def _end(self, live: Live, fault: Any) -> None:
        for party in live.contract.parties:
            relay = self._relays.pop((live.contract.digest, party.name), None)
            if relay is not None:
                relay.close()
        super()._end(live, fault)

    # the port

    @property
    def endpoint(self) -> str:
        if self._server is None:
            raise LifecycleError("the dealer does not listen yet")
        return self.settings.advertise or f"{self.settings.listen.rpartition(':')[0]}:{self._port}"

    async def listen(self) -> None:
        self._server = grpc.aio.server(options=DEALER_OPTIONS)
        handler = grpc.stream_stream_rpc_method_handler(self._relay)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Session": handler}),))
        credentials = grpc.dynamic_ssl_server_credentials(
            self._configuration(), self._configuration, require_client_authentication=True
        )
        self._port = self._server.add_secure_port(self.settings.listen, credentials)
        await self._server.start()

    async def unlisten(self) -> None:
        if self._server is not None:
            await self._server.stop(1)

    def _configuration(self) -> Any:
        """The certificates that may connect now: of the workers of live sessions, besides the dealer's own."""
        tls = self._tls
        trusted = [
            approval.certificate
            for live in list(self.live.values())
            for name, approval in live.approvals.items()
            if name != self.name
        ]
        roots = "\n".join([tls.certificate, *trusted]).encode()
        return grpc.ssl_server_certificate_configuration([(tls.key_pem, tls.certificate.encode())], roots)

    async def _relay(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Bytes between one worker's stream and the session's process."""
        metadata = dict(context.invocation_metadata())
        session, shown = metadata.get(SESSION_KEY, ""), context.auth_context().get("x509_pem_cert", [b""])[0].decode()
        live = self.live.get(session)
        party = self._caller(live, shown)
        if live is None or party is None or metadata.get(EPOCH_KEY) != "1":
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no live session has a party with this key")
            return
        relay = self._relays.get((session, party))
        if relay is None:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the session's process is not there")
            return
        reader, writer = await asyncio.open_unix_connection(sock=relay, limit=1 << 22)
        inbound = asyncio.create_task(_pump(requests, writer))
        try:
            while True:
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                yield await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            inbound.cancel()
            with contextlib.suppress(Exception):
                writer.close()

    def _caller(self, live: Live | None, certificate: str) -> str | None:
        if live is None or not certificate:
            return None
        shown = certificate_sha256(certificate)
        for name, approval in live.approvals.items():
            if name != self.name and certificate_sha256(approval.certificate) == shown:
                return name
        return None

    def local_handlers(self) -> dict[str, Any]:
        desk = Desk(self.home, self.journal, None, self.partners)

        async def partner_add(request: dict[str, Any]) -> Any:
            desk.partner_add(**request)

        async def partner_remove(request: dict[str, Any]) -> Any:
            desk.partner_remove(**request)

        async def status(_: dict[str, Any]) -> Any:
            return {
                "name": self.name,
                "endpoint": self.endpoint,
                "gateway": self.stream.connected.is_set(),
                "sessions": {s.digest: s.state.value for s in self.store.all()},
                "workers": {digest: live.process.pid for digest, live in self.live.items() if live.process},
            }

        return {"partner-add": partner_add, "partner-remove": partner_remove, "status": status}


async def _pump(requests: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
    """From the worker to the process; the end of the worker's stream is the end of the process's input."""
    with contextlib.suppress(ConnectionError):
        async for message in requests:
            writer.write(LENGTH.pack(len(message)) + message)
            await writer.drain()
        writer.write_eof()

"""A gateway at work: REST, control plane and the coordinator's clock in one event loop, ended in good order."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import structlog

from gateway import control as control_plane
from gateway.access import TOKEN_FILE, Token
from gateway.app import make_app
from gateway.control import Control
from gateway.home import IDENTITY_FILE, SERVING_FILE, load_tls_key
from gateway.journal import Journal
from gateway.sessions import Sessions
from gateway.settings import GatewaySettings, load_settings
from gateway.store import Store
from parties.audit.events import CertificateExpiring, ServiceStarted, ServiceStopped
from parties.audit.log import FILE_NAME as AUDIT_FILE
from parties.audit.log import AuditLog
from parties.identity import Identity
from parties.notices import of_certificate
from parties.tls import utc_now
from parties.web.addresses import parse_address
from parties.web.server import Server, listen

operational = structlog.get_logger()

TICK_S = 0.5
FAREWELL_S = 2  # how long open requests and streams may take to end


@dataclass(frozen=True)
class Serving:
    """Where a running gateway listens."""

    rest: str
    control: str


@asynccontextmanager
async def running(home: Path, *, clock: Callable[[], datetime] = utc_now) -> AsyncIterator[Serving]:
    """A gateway that serves while inside; a part of it that fails ends the whole.

    Raises: SettingsError if something in home is missing or a port is taken; AuditError if another process runs it.
    """
    settings = load_settings(home)
    with _opened(home, settings, clock) as (log, store):
        log.append(ServiceStarted(role="gateway", version=version("privity")))
        if ending := of_certificate("own", load_tls_key(home).certificate, clock()):
            operational.warning("the gateway's certificate ends", ends=ending.ends.isoformat(), days=ending.days)
            log.append(CertificateExpiring(certificate="own", days=ending.days))
        coordinator = Sessions(store, log, settings, clock=clock)
        async with _serving(home, settings, coordinator, store, log, clock) as serving:
            yield serving
        log.append(ServiceStopped(role="gateway"))


@contextmanager
def _opened(home: Path, settings: GatewaySettings, clock: Callable[[], datetime]) -> Iterator[tuple[AuditLog, Store]]:
    identity = Identity.load(home / IDENTITY_FILE)
    with AuditLog.open(home / AUDIT_FILE, identity, settings.name, clock=clock, must_exist=True) as log:
        store = Store.open(home)
        try:
            yield log, store
        finally:
            store.close()


@asynccontextmanager
async def _serving(
    home: Path,
    settings: GatewaySettings,
    coordinator: Sessions,
    store: Store,
    journal: Journal,
    clock: Callable[[], datetime],
) -> AsyncIterator[Serving]:
    app = make_app(coordinator, Token.load(home / TOKEN_FILE), settings.name)
    rest = Server(app, FAREWELL_S)
    control = Control(store, journal, coordinator, settings, clock=clock)
    key = load_tls_key(home)
    with listen(parse_address(settings.rest_address), "rest_address") as listener:
        streams, control_port = control_plane.server(control, store, settings, key, clock)
        serving = Serving(
            rest=str(parse_address(settings.rest_address)._replace(port=listener.getsockname()[1])),
            control=str(parse_address(settings.control_address)._replace(port=control_port)),
        )
        await streams.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(rest.serve(sockets=[listener]))
            ticking = tasks.create_task(_tick(coordinator))
            try:
                with _announced(home, serving):
                    yield serving
            finally:
                ticking.cancel()
                coordinator.close()
                rest.should_exit = True
                await streams.stop(FAREWELL_S)


async def _tick(coordinator: Sessions) -> None:
    while True:
        coordinator.tick()
        await asyncio.sleep(TICK_S)


@contextmanager
def _announced(home: Path, serving: Serving) -> Iterator[None]:
    """The addresses in a file, for `invite` and for clients, as long as they hold."""
    path = home / SERVING_FILE
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(asdict(serving)), encoding="ascii")
    fresh.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)

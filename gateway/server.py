"""A gateway at work: REST, control plane and the coordinator's clock in one event loop, ended in good order."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from gateway.access.accounts import Accounts
from gateway.access.guard import HEADERS
from gateway.access.logins import Logins
from gateway.access.tokens import TOKEN_FILE, Token
from gateway.app import make_app
from gateway.coordination import control as control_plane
from gateway.coordination.control import Control
from gateway.coordination.cosigning import Cosigning
from gateway.coordination.journal import Journal
from gateway.coordination.sessions import Sessions
from gateway.errors import StoreAway
from gateway.home import IDENTITY_FILE, SERVING_FILE, load_tls_key
from gateway.metrics import Metrics, Place
from gateway.problems import no_http
from gateway.rest_tls import load_context
from gateway.settings import GatewaySettings, load_settings
from gateway.storage.store import Store
from parties.audit.events import CertificateExpiring, ServiceStarted, ServiceStopped
from parties.audit.log import FILE_NAME as AUDIT_FILE
from parties.audit.log import AuditLog
from parties.keys.identity import Identity
from parties.keys.tls import utc_now
from parties.service.notices import of_certificate
from parties.web.addresses import parse_address
from parties.web.server import Server, listen

if TYPE_CHECKING:
    from gateway.access.oidc import Provider

operational = structlog.get_logger()

TICK_S = 0.5
FAREWELL_S = 2  # how long open requests and streams may take to end


@dataclass(frozen=True)
class Serving:
    """Where a running gateway listens."""

    rest: str
    control: str
    url: str  # under which clients come to REST


@asynccontextmanager
async def running(home: Path, *, clock: Callable[[], datetime] = utc_now) -> AsyncIterator[Serving]:
    """A gateway that serves while inside; a part of it that fails ends the whole.

    Raises: SettingsError if something in home is missing or a port is taken; AuditError if another process runs it.
    """
    settings = load_settings(home)
    with _opened(home, settings, clock) as (log, store):
        cosigning = Cosigning(settings.name, home, Identity.load(home / IDENTITY_FILE), log, store)
        log.append(ServiceStarted(role="gateway", version=version("privity")))
        if ending := of_certificate("own", load_tls_key(home).certificate, clock()):
            operational.warning("the gateway's certificate ends", ends=ending.ends.isoformat(), days=ending.days)
            log.append(CertificateExpiring(certificate="own", days=ending.days))
        coordinator = Sessions(store, log, settings, clock=clock, cosigning=cosigning)
        async with _serving(home, settings, coordinator, store, log, clock) as serving:
            yield serving
        log.append(ServiceStopped(role="gateway"))


@contextmanager
def _opened(home: Path, settings: GatewaySettings, clock: Callable[[], datetime]) -> Iterator[tuple[AuditLog, Store]]:
    identity = Identity.load(home / IDENTITY_FILE)
    with AuditLog.open(home / AUDIT_FILE, identity, settings.name, clock=clock, must_exist=True) as log:
        store = Store.open(home, settings.database)
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
    key = load_tls_key(home)
    accounts, provider = Accounts(store, journal, clock), _provider(home, settings, clock)
    metrics = Metrics(coordinator, Place(home, key.certificate, clock))
    token = Token.load(home / TOKEN_FILE)
    logins = Logins(store, clock)
    app = make_app(coordinator, accounts, logins, token, settings, metrics, home / AUDIT_FILE, provider)
    rest = Server(app, FAREWELL_S, load_context(home, settings), partial(no_http, headers=HEADERS))
    control = Control(store, journal, coordinator, settings, clock=clock)
    with listen(parse_address(settings.rest_address), "rest_address") as listener, closing(app.state.refusals):
        streams, control_port = control_plane.server(control, store, settings, key, clock)
        serving = Serving(
            rest=str(parse_address(settings.rest_address)._replace(port=listener.getsockname()[1])),
            control=str(parse_address(settings.control_address)._replace(port=control_port)),
            url=_url(settings, listener.getsockname()[1]),
        )
        coordinator.enter()
        await streams.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(rest.serve(sockets=[listener]))
            ticking = [tasks.create_task(_tick(coordinator, accounts))]
            if store.is_shared:
                ticking.append(tasks.create_task(_collect(coordinator, store)))
            try:
                with _announced(home, serving):
                    yield serving
            finally:
                for task in ticking:
                    task.cancel()
                coordinator.close()
                rest.should_exit = True
                await streams.stop(FAREWELL_S)


def _provider(home: Path, settings: GatewaySettings, clock: Callable[[], datetime]) -> Provider | None:
    if not settings.oidc.issuer:
        return None
    from gateway.access.oidc import Provider

    return Provider(home, settings.oidc, settings.rest_urls[0], now=lambda: clock().timestamp())


def _url(settings: GatewaySettings, port: int) -> str:
    """The first public address; without one, where REST listens."""
    listening = str(parse_address(settings.rest_address)._replace(port=port))
    return settings.rest_urls[0] if settings.rest_urls else settings.places.base(listening)


async def _tick(coordinator: Sessions, accounts: Accounts) -> None:
    """A database that is away for a while ends nothing."""
    away = False
    while True:
        try:
            coordinator.tick()
            accounts.record_all()
            away = False
        except StoreAway:
            if not away:
                operational.exception("the database is away")
            away = True
        await asyncio.sleep(TICK_S)


async def _collect(coordinator: Sessions, store: Store) -> None:
    """What other gateways leave for this one is done at once; while the bell is broken, at the next tick."""
    while True:
        try:
            with closing(store.bell(coordinator.id)) as bell:
                while True:
                    await bell.ring()
                    coordinator.collect()
        except StoreAway:
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

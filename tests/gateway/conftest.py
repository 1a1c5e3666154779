"""A real gateway on loopback in a thread of its own, and daemons that speak to it over real mutual TLS."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc
import httpx2
import pytest
import rfc8785

from gateway.access.accounts import Accounts, TokenAsked
from gateway.access.tokens import TOKEN_FILE, PersonalToken, Token
from gateway.client import Gateway
from gateway.home import AUDIT_FILE, init, invite
from gateway.problems import MEDIA_TYPE, TABLE, Problem
from gateway.sandbox.consortium import GATEWAY
from gateway.server import Serving, running
from gateway.settings import FILE as SETTINGS_FILE
from gateway.settings import load_settings
from gateway.storage.store import Store
from mpc.errors import PrivityError
from mpc.stages import Stage
from parties.agreement.contract import Approval, Contract, check_approvals, sign_approval
from parties.agreement.kinds import parse_contract
from parties.agreement.plan import Plan, parse_plan
from parties.audit.events import Event
from parties.audit.snapshot import take
from parties.data.schema import Column, Schema
from parties.keys.handover import SignedHandover
from parties.keys.identity import Identity
from parties.keys.tls import Invitation, TlsKey, fetch_certificate, utc_now
from parties.service.messages import (
    INTRODUCTION_TYPE,
    SERVICE,
    STREAM,
    Approve,
    Fault,
    Finished,
    Hello,
    Introduction,
    Offer,
    Proposal,
    Publish,
    PublishedData,
    Start,
    Stop,
    ToldModel,
    Validated,
    Waiting,
    Welcome,
    decode_from_gateway,
    encode,
)
from parties.web.trust import trusted

DEADLINE_S = 30
M = TypeVar("M")


class Daemon:
    """What a node or a dealer says to the gateway, without what it does."""

    def __init__(self, token: str, role: str, *, key: TlsKey | None = None, identity: Identity | None = None) -> None:
        self.invitation = Invitation.parse(token)
        self.name, self.role = self.invitation.name, role
        self.key = key or self.invitation.admit(utc_now())
        self.identity = identity or Identity.generate()
        self.handovers: tuple[SignedHandover, ...] = ()
        self._outgoing: queue.Queue[bytes | None] = queue.Queue()
        self.incoming: queue.Queue[Any] = queue.Queue()

    def dial(self, *, address: str | None = None, name: str | None = None, sha256: str | None = None) -> Daemon:
        """Open the stream and introduce oneself; `address` is a detour to the gateway."""
        certificate = fetch_certificate(self.invitation.address, self.invitation.gateway_sha256)
        credentials = grpc.ssl_channel_credentials(
            certificate.encode(), self.key.key_pem, self.key.certificate.encode()
        )
        options = (("grpc.ssl_target_name_override", "gateway"), ("grpc.enable_retries", 0))
        self._channel = grpc.secure_channel(address or self.invitation.address, credentials, options)
        call = self._channel.stream_stream(f"/{SERVICE}/{STREAM}")(iter(self._outgoing.get, None))
        self._reader = threading.Thread(target=self._read, args=(call,))
        self._reader.start()
        introduction = Introduction(
            name=name or self.name,
            role=self.role,
            public_key=self.identity.public.hex(),
            certificate_sha256=sha256 or self.key.sha256,
        )
        payload = rfc8785.dumps(introduction.model_dump(mode="json"))
        envelope = self.identity.seal(INTRODUCTION_TYPE, payload)
        return self.say(Hello(introduction=envelope, handovers=self.handovers))

    def _read(self, call: Any) -> None:
        try:
            for content in call:
                message = decode_from_gateway(content)
                if not (isinstance(message, Offer) and message.peer == GATEWAY):  # nobody confirmed its key here
                    self.incoming.put(message)
            self.incoming.put(None)
        except grpc.RpcError as exc:
            self.incoming.put(exc.code())

    def say(self, message: Any) -> Daemon:
        self._outgoing.put(encode(message))
        return self

    def hear(self, kind: type[M]) -> M:
        """The next message, which must be of this kind."""
        message = self.incoming.get(timeout=DEADLINE_S)
        assert isinstance(message, kind), message
        return message

    def hang_up(self) -> None:
        """As a process that dies: no word, the connection closes."""
        if hasattr(self, "_channel"):
            self._channel.close()
            self._outgoing.put(None)
            self._reader.join(DEADLINE_S)

    def publish(self, columns: dict[str, tuple[str, bool]], *, rows: int = 100) -> Daemon:
        """Columns by name: kind, and whether no value is missing."""
        listed = tuple(Column(name=name, kind=kind, complete=complete) for name, (kind, complete) in columns.items())
        table = Schema(name="cohort", rows=rows, id_column="patient", columns=listed)
        return self.say(Publish(data=(PublishedData(table=table, version="ab" * 16),)))

    def settled(self) -> Daemon:
        """Wait until the gateway has taken in all that was said: it answers a word about a session it can't know."""
        self.say(Waiting(session="0" * 64, reason="are you there?"))
        assert self.hear(Stop).fault.code == "gateway.unknown-session"
        return self

    def approval(self, contract: Contract) -> Approve:
        certificate = TlsKey.generate(self.name, now=utc_now()).certificate
        approval = Approval(
            contract=contract.digest,
            name=self.name,
            role=self.role,
            certificate=certificate,
            endpoint="127.0.0.1:9",
        )
        return Approve(session=contract.digest, envelope=sign_approval(self.identity, approval))

    def finished(
        self,
        session: str,
        fault: Fault | None = None,
        models: tuple[ToldModel, ...] = (),
        validated: tuple[Validated, ...] = (),
        converged: bool | None = None,
        stages: dict[Stage, float] | None = None,
    ) -> Finished:
        told = {"models": models, "validated": validated, "converged": converged, "fault": fault}
        told["stages"] = stages or {}
        return Finished(session=session, seconds=1.5, rounds=30, bytes_sent=1000, **told)


class House:
    """A gateway's directory, and whether it serves."""

    def __init__(self, home: Path, database: str = "") -> None:
        self.home = home
        init(home, rest="127.0.0.1:0", control="127.0.0.1:0", database=database)
        self.serving = Serving("", "", "")
        self.time_ahead = timedelta()  # of the gateway's clock against the true one
        self.daemons: list[Daemon] = []

    def change(self, line: str, to: str) -> None:
        """Change a line of the settings."""
        path = self.home / SETTINGS_FILE
        assert line in path.read_text()
        path.write_text(path.read_text().replace(line, to))

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Serve in a thread while inside."""
        loop = asyncio.new_event_loop()
        started: queue.Queue[PrivityError | Serving] = queue.Queue()
        stop = asyncio.Event()

        async def main() -> None:
            async with running(self.home, clock=lambda: utc_now() + self.time_ahead) as serving:
                started.put(serving)
                await stop.wait()

        def run() -> None:
            try:
                with asyncio.Runner(loop_factory=lambda: loop) as runner:
                    runner.run(main())
            except PrivityError as exc:  # it did not come so far as to serve
                started.put(exc)

        thread = threading.Thread(target=run)
        thread.start()
        found = started.get(timeout=DEADLINE_S)
        if isinstance(found, PrivityError):
            thread.join()
            raise found
        self.serving = found
        try:
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(DEADLINE_S)
            assert not thread.is_alive()

    def invited(self, name: str, role: str = "party", **kwargs: Any) -> Daemon:
        daemon = Daemon(invite(self.home, name, role), role, **kwargs)
        self.daemons.append(daemon)
        return daemon

    def joined(self, name: str, role: str = "party") -> Daemon:
        daemon = self.invited(name, role).dial()
        daemon.hear(Welcome)
        return daemon

    def consortium(self) -> Consortium:
        return Consortium(self)

    def again(self, daemon: Daemon) -> Daemon:
        """The same daemon with a new stream."""
        copy = Daemon(daemon.invitation.token(), daemon.role, key=daemon.key, identity=daemon.identity)
        self.daemons.append(copy)
        return copy

    @property
    def token(self) -> str:
        return Token.load(self.home / TOKEN_FILE).reveal()

    def personal(self, account: str, organisation: str, role: str, **more: Any) -> str:
        """A personal token, as `privity gateway token create` makes it beside the daemon."""
        store = Store.open(self.home, load_settings(self.home).database)
        try:
            asked = TokenAsked(account=account, organisation=organisation, role=role, **more)
            return Accounts(store, None, lambda: utc_now() + self.time_ahead).create(asked)[0].reveal()
        finally:
            store.close()

    def revoke(self, token: str) -> None:
        """As `privity gateway token revoke` does."""
        store = Store.open(self.home, load_settings(self.home).database)
        try:
            Accounts(store, None).revoke(PersonalToken(token).id)
        finally:
            store.close()

    def client(self, token: str = "") -> Gateway:
        return Gateway(self.serving.url, token or self.token, timeout=DEADLINE_S)

    def http(self, token: str = "") -> httpx2.Client:
        """A plain HTTP client with a token: the gateway's own, or this one."""
        headers = {"authorization": f"Bearer {token or self.token}"}
        return httpx2.Client(base_url=self.serving.url, headers=headers, timeout=DEADLINE_S, verify=trusted())

    def recorded(self, *kinds: type[Event]) -> list[Event]:
        """What the gateway's own log has of these kinds, in order."""
        return [entry.event for entry in take(self.home / AUDIT_FILE).entries() if isinstance(entry.event, kinds)]

    def until_recorded(self, kind: type[Event]) -> None:
        """What is done beside the daemon is in its log a moment later."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.recorded(kind):
            assert time.monotonic() < deadline, kind.type
            time.sleep(0.02)

    def hang_up(self) -> None:
        for daemon in self.daemons:
            daemon.hang_up()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A gateway that is not serving yet."""
    made = House(tmp_path / "gateway")
    yield made
    made.hang_up()


@pytest.fixture
def gateway(house: House) -> Iterator[House]:
    """A gateway that serves."""
    with house.serve():
        yield house
        house.hang_up()


COLUMNS = {
    "age": ("number", True),
    "dose": ("number", True),
    "lab": ("number", False),
    "note": ("text", True),
    "outcome": ("category", True),
}


class Consortium:
    """Two clinics and a dealer, joined and published."""

    def __init__(self, gateway: House) -> None:
        self.a, self.b = (gateway.joined(name).publish(COLUMNS).settled() for name in ("clinic-a", "clinic-b"))
        self.dealer = gateway.joined("dealer", "dealer")

    @property
    def everybody(self) -> tuple[Daemon, ...]:
        return self.a, self.b, self.dealer

    def proposed(self) -> Contract:
        """The contract that everybody was sent."""
        texts = {daemon.hear(Proposal).contract for daemon in self.everybody}
        assert len(texts) == 1
        return parse_contract(texts.pop().encode())

    def started(self) -> Contract:
        """The contract, approved by all and started at all."""
        contract = self.proposed()
        for daemon in self.everybody:
            daemon.say(daemon.approval(contract))
        for daemon in self.everybody:
            check_approvals(contract, daemon.hear(Start).approvals)
        return contract


@pytest.fixture
def consortium(gateway: House) -> Consortium:
    return Consortium(gateway)


PLAN_TOML = """
purpose = "predict the outcome"
legal_basis = "consent"
label = { party = "clinic-a", column = "outcome", positive = "yes" }
[[parties]]
name = "clinic-a"
data = "cohort"
columns = ["age"]
[[parties]]
name = "clinic-b"
data = "cohort"
columns = ["dose"]
"""


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    """A plan that fits the consortium, with parts replaced."""

    def make(**parts: Any) -> Plan:
        content: dict[str, Any] = {
            "purpose": "predict the outcome",
            "legal_basis": "consent",
            "parties": [
                {"name": "clinic-a", "data": "cohort", "columns": ["age"]},
                {"name": "clinic-b", "data": "cohort", "columns": ["dose"]},
            ],
            "label": {"party": "clinic-a", "column": "outcome", "positive": "yes"},
        }
        return parse_plan(content | parts)

    return make


@pytest.fixture
def client(gateway: House) -> Iterator[Gateway]:
    with gateway.client() as made:
        yield made


@pytest.fixture
def http(gateway: House) -> Iterator[httpx2.Client]:
    """A plain HTTP client with the token."""
    with gateway.http() as made:
        yield made


def check_problem(response: httpx2.Response, status: int, code: str) -> Problem:
    """The problem of a response, which must be one of the table's."""
    assert (response.status_code, response.headers["content-type"]) == (status, MEDIA_TYPE)
    found = Problem.model_validate(response.json())
    assert (found.code, found.status, found.type) == (code, status, f"urn:privity:problem:{code}")
    assert found.title == TABLE[code][1]
    assert found.instance == f"urn:privity:request:{response.headers['x-request-id']}"
    assert found.detail
    return found

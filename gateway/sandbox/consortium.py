"""A whole consortium on one machine: a gateway, a dealer and a node for each party, each a process of its own.

Each participant has its own directory, keys, certificate, vault and log, and they talk mutual TLS on loopback, exactly
as on separate machines. Only who starts them differs.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.access.tokens import TOKEN_FILE, Token
from gateway.client import Gateway
from gateway.home import init as init_gateway
from gateway.home import invite
from parties.agreement.match_plan import MatchingPlan
from parties.agreement.plan import Plan
from parties.audit import events
from parties.audit.log import AuditLog
from parties.data.intake import take_in
from parties.errors import GatewayError, PartyError, VaultError
from parties.keys.identity import Identity
from parties.keys.partners import Partners
from parties.keys.tls import utc_now
from parties.service import local
from parties.service.desk import Desk
from parties.service.home import Home, Role
from parties.service.home import init as init_home
from parties.sources import file_source
from parties.testimony.transcripts import UNCONFIRMED

READY_S = 60.0
POLL_S = 0.05
GATEWAY = "gateway"


class Daemon:
    """One daemon's process: started with exec, ready when it says so, ended in good order."""

    def __init__(self, name: str, command: list[str], home: Path, module: str = "gateway.cli") -> None:
        self.name, self._home = name, home
        self._log = (home / "daemon.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *command, "--home", str(home)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def wait_ready(self) -> dict[str, Any]:
        """What it says once it listens. Raises: PartyError if it ends or stays silent."""
        if self._process.stdout is None:
            raise PartyError(f"{self.name} has no output")
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if selector.select(READY_S) else b""
        if not line:
            raise PartyError(f"{self.name} did not start: {self._last_words()}", action=f"see {self._home}/daemon.log")
        ready: dict[str, Any] = json.loads(line)
        return ready

    def _last_words(self) -> str:
        lines = (self._home / "daemon.log").read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


class Consortium:
    """Set up for one plan, and for a matching of the same parties before it; started, and stopped on leaving."""

    def __init__(
        self, directory: Path, plan: Plan | MatchingPlan, matching: MatchingPlan | None = None, *, database: str = ""
    ) -> None:
        self.directory, self.plan, self.matching, self._database = directory, plan, matching, database
        self.parties = [party.name for party in plan.parties]
        self.members = [*self.parties, plan.dealer]
        self.daemons: dict[str, Daemon] = {}
        self.client: Gateway | None = None
        self.url = ""

    def home(self, name: str) -> Home:
        return Home(self.directory / name)

    def start(self, files: Mapping[str, Path], id_column: str, say: Callable[[str], None]) -> None:
        """Make every home, fill the vaults, start every process and wait until all know each other.

        Raises: PrivityError of whatever is wrong; DataError for a file.
        """
        gateway = self.directory / GATEWAY
        gateway.mkdir(parents=True, mode=0o700)
        init_gateway(gateway, name=GATEWAY, rest="127.0.0.1:0", control="127.0.0.1:0", database=self._database)
        say("starting the gateway")
        ready = self._launch(GATEWAY, [GATEWAY, "serve"], gateway)
        self.url = f"http://{ready['rest']}"
        self.client = Gateway(self.url, Token.load(gateway / TOKEN_FILE).reveal())
        roles: dict[str, Role] = {**dict.fromkeys(self.parties, "party"), self.plan.dealer: "dealer"}
        for name, role in roles.items():
            token = invite(gateway, name, role)
            init_home(self.directory / name, role, token, "127.0.0.1:0", utc_now())
        for name in roles:
            self._furnish(name, files.get(name), id_column, say)
        for name, role in roles.items():
            say(f"starting {name}")
            self.daemons[name] = Daemon(
                name, ["dealer" if role == "dealer" else "node", "serve"], self.directory / name
            )
        for name in roles:
            self.daemons[name].wait_ready()
        self._wait("every participant to reach the gateway", self._all_online)

    def _launch(self, name: str, command: list[str], home: Path) -> dict[str, Any]:
        self.daemons[name] = Daemon(name, command, home)
        return self.daemons[name].wait_ready()

    def _furnish(self, name: str, file: Path | None, id_column: str, say: Callable[[str], None]) -> None:
        """What each operator does at home: confirm the partners' fingerprints, put the data into the vault."""
        home = self.home(name)
        with AuditLog.open(home.path("audit.sqlite"), home.identity, name) as journal:
            journal.append(events.IdentityCreated(fingerprint=home.identity.fingerprint))
            desk = Desk(home, journal, None, Partners(home.path("partners.json")))
            for other in self.members:
                if other != name:
                    desk.partner_add(other, self.home(other).identity.fingerprint)
            desk.partner_add(GATEWAY, self.identities()[GATEWAY])  # whose log it cosigns
            if file is not None:
                data = next(party.data for party in (self.matching or self.plan).parties if party.name == name)
                say(f"{name} puts {file.name} into its vault")
                take_in(
                    desk.open_vault(),
                    data,
                    file_source(file),
                    id_column,
                    created=utc_now(),
                    record=desk.data_added,
                    shareable=True,
                )

    def _all_online(self) -> bool:
        if self.client is None:
            return False
        present = {view.name: view for view in self.client.participants()}
        return all(
            name in present and present[name].online and (present[name].published or name == self.plan.dealer)
            for name in self.members
        )

    def propose(self, plan: Plan | MatchingPlan) -> str:
        """Propose a plan at the gateway; the session's id."""
        if self.client is None:
            raise GatewayError("the consortium is not started")
        return self.client.propose(plan).id

    def share(self, data: str, names: Sequence[str]) -> None:
        """The operators of these parties let sessions use a data set; the gateway knows of it when this returns.

        Of a matching's each waits until the others have signed that it ended well with them.
        """
        for name in names:
            self._wait(f"{name} to share '{data}'", lambda name=name: self._may_share(name, data))  # type: ignore[misc]
        self._wait(f"the gateway to list '{data}'", lambda: self._published(data) >= set(names))

    def _may_share(self, name: str, data: str) -> bool:
        try:
            local.call(self.directory / name, "data-share", name=data, shareable=True)
        except local.RemoteError as exc:
            if exc.code == f"{VaultError.code}.{UNCONFIRMED}":
                return False
            raise
        return True

    def _published(self, data: str) -> set[str]:
        views = self.client.participants() if self.client is not None else []
        return {view.name for view in views if any(item.table.name == data for item in view.published)}

    def approve(self, session: str, say: Callable[[str], None], names: Sequence[str] = ()) -> None:
        """Each node's operator signs at the node, or those of these; the dealer signs by itself."""
        for name in names or self.parties:
            self._wait(f"the contract to reach {name}", lambda name=name: self._may_approve(name, session))  # type: ignore[misc]
            local.call(self.directory / name, "approve", session=session)
            say(f"{name} signed the contract")

    def _may_approve(self, name: str, session: str) -> bool:
        state = local.call(self.directory / name, "status")["sessions"].get(session)
        if state in {"refused", "cancelled", "failed"} and self.client is not None:
            fault = self.client.session(session).fault
            raise GatewayError(fault.line() if fault else f"{name} {state} the session")
        return bool(state == "proposed")

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        """Raises: PartyError if it does not come true in time, or a daemon ends meanwhile."""
        deadline = time.monotonic() + READY_S
        while not condition():
            if time.monotonic() > deadline:
                raise PartyError(f"waited {READY_S:.0f} s for {what}")
            time.sleep(POLL_S)

    def identities(self) -> dict[str, str]:
        """Every participant's fingerprint, the gateway's included."""
        gateway = Identity.load(self.directory / GATEWAY / "identity.pem").fingerprint
        return {GATEWAY: gateway, **{name: self.home(name).identity.fingerprint for name in self.members}}

    def stop(self) -> None:
        if self.client is not None:
            self.client.close()
        for daemon in reversed(list(self.daemons.values())):
            daemon.stop()
        self.daemons.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

"""Whoever calls a worker with a key that no approval names gets nothing, and everybody hears of it who should."""

import threading
import time
from datetime import UTC, datetime

import pytest

from gateway.sandbox.consortium import Daemon
from mpc.errors import PrivityError
from parties.agreement.contract import Approval
from parties.keys.tls import TlsKey
from parties.process.links import Greeting, dial, secure
from parties.service.lifecycle import State
from tests.e2e.world import DEADLINE_S, PROMPT_S, until


def test_stranger_is_sent_away_and_the_session_goes_on(world):
    """A call in a party's name with another key ends at the handshake; the real party still comes, and they train."""
    key = TlsKey.generate("org-1", now=datetime.now(UTC))
    endpoint = world.status("org-0")["endpoint"]
    met: list[Exception] = []

    def call(session: str) -> None:
        try:
            raw = dial(endpoint, Greeting(session, 1, "org-1"), "org-0", time.monotonic() + DEADLINE_S)
            shown = Approval(
                contract=session, name="org-0", role="party", certificate=key.certificate, endpoint=endpoint
            )
            secure(raw, key, shown, server=False)
        except PrivityError as exc:
            met.append(exc)

    session = world.begin(world.plan)
    stranger = threading.Thread(target=call, args=(session,))
    stranger.start()
    assert world.ended(session).state is State.COMPLETED
    stranger.join(DEADLINE_S)
    assert len(met) == 1


@pytest.fixture
def impostor(world):
    """org-1's node is run by a program that gives its worker another key."""
    daemons, home = world.consortium.daemons, world.directory / "org-1"
    daemons["org-1"].stop()
    daemons["org-1"] = Daemon("org-1", ["node", "serve"], home, module="tests.e2e.impostor_node")
    daemons["org-1"].wait_ready()
    until("its return", lambda: all(view.online for view in world.client.participants()))
    yield
    daemons["org-1"].stop()
    daemons["org-1"] = Daemon("org-1", ["node", "serve"], home)
    daemons["org-1"].wait_ready()
    until("its return", lambda: all(view.online for view in world.client.participants()))


@pytest.mark.usefixtures("impostor")
def test_worker_with_another_key_ends_the_session(world):
    """A party whose worker shows a key that it did not sign for is refused by every other, which say why."""
    session = world.begin(world.plan)
    began = time.monotonic()
    view = world.ended(session)
    assert view.state is State.FAILED
    assert view.fault is not None
    assert time.monotonic() - began < 3 * PROMPT_S  # starting the workers included
    assert "key" in view.fault.what
    assert view.fault.code in {"partner", "engine.peer-lost"}
    assert view.fault.action

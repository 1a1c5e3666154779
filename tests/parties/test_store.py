"""What a daemon answered stays answered: after a restart, after a crash, and whoever asks again."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from parties.errors import LifecycleError
from parties.service.lifecycle import State, Step
from parties.service.messages import Fault
from parties.service.store import SessionStore

DIGEST, OTHER = "ab" * 32, "ac" * 32
FAULT = Fault(code="policy", who="clinic-a", what="no", action="ask")
ROOT = Path(__file__).parents[2]

# Receives sessions for ever and approves each; says what is committed. The last one stays open in a transaction.
WRITER = """
import sys
from pathlib import Path
from parties.service.lifecycle import Step
from parties.service.store import SessionStore
store = SessionStore(Path(sys.argv[1]))
number = 0
while True:
    digest = f"{number:064x}"
    store.receive(digest, "contract")
    store.step(digest, Step.APPROVE)
    store.begin_epoch(digest, 1)
    print(digest, flush=True)
    number += 1
"""
HOLDER = """
import sys
from pathlib import Path
from parties.service.store import SessionStore
store = SessionStore(Path(sys.argv[1]))
with store._engine.begin() as connection:
    connection.exec_driver_sql("UPDATE sessions SET state = 'running', epoch = 7")
    print("in the transaction", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "state.sqlite"


@pytest.fixture
def store(path) -> SessionStore:
    return SessionStore(path)


def start(script: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_session_is_there_after_a_restart(store, path):
    """Every field of a row is durable when the call returns."""
    store.receive(DIGEST, "contract")
    store.begin_epoch(DIGEST, 3)
    store.step(DIGEST, Step.REFUSE, FAULT)
    (found,) = SessionStore(path).all()
    assert (found.digest, found.contract, found.state, found.epoch) == (DIGEST, "contract", State.REFUSED, 3)
    assert found.fault == FAULT


def test_a_contract_is_accepted_once(store, path):
    """The same digest does not come in again, before or after a restart, whatever became of it."""
    store.receive(DIGEST, "contract")
    for again in (store, SessionStore(path)):
        with pytest.raises(LifecycleError, match="was received before"):
            again.receive(DIGEST, "contract")
    store.step(DIGEST, Step.CANCEL)
    with pytest.raises(LifecycleError, match="was received before"):
        store.receive(DIGEST, "another text")


def test_an_epoch_begins_once(store, path):
    """Masks of an epoch are spent when it begins: neither it nor an earlier one begins again, not after a restart."""
    store.receive(DIGEST, "contract")
    store.begin_epoch(DIGEST, 1)
    store.begin_epoch(DIGEST, 4)
    for again in (store, SessionStore(path)):
        for spent in (1, 3, 4):
            with pytest.raises(LifecycleError, match=f"epoch {spent} .* began before; its masks are spent"):
                again.begin_epoch(DIGEST, spent)
    SessionStore(path).begin_epoch(DIGEST, 5)


def test_an_epoch_of_no_session_does_not_begin(store):
    """A session that nobody received has no epochs."""
    with pytest.raises(LifecycleError):
        store.begin_epoch(DIGEST, 1)


def test_only_one_of_many_begins_an_epoch(store):
    """Of several threads that want the same epoch exactly one gets it."""
    store.receive(DIGEST, "contract")

    def begin(_: int) -> bool:
        try:
            store.begin_epoch(DIGEST, 1)
        except LifecycleError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(begin, range(8))) == 1


def test_only_one_of_many_takes_a_step(store):
    """Of two steps that exclude each other one happens, once."""
    store.receive(DIGEST, "contract")
    store.step(DIGEST, Step.APPROVE)

    def take(step: Step) -> bool:
        try:
            store.step(DIGEST, step)
        except LifecycleError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, [Step.START, Step.EXPIRE] * 4)) == 1


def test_a_forbidden_step_changes_nothing(store):
    """The row is as before, its fault too."""
    store.receive(DIGEST, "contract")
    with pytest.raises(LifecycleError, match="a session that is proposed can't start"):
        store.step(DIGEST, Step.START, FAULT)
    assert (store.get(DIGEST).state, store.get(DIGEST).fault) == (State.PROPOSED, None)
    with pytest.raises(LifecycleError, match="there is no session acac"):
        store.step(OTHER, Step.CANCEL)


def test_a_session_is_found_by_as_much_as_tells_it_apart(store):
    """A prefix finds one session; one that fits several, none or everything finds nothing."""
    store.receive(DIGEST, "contract")
    store.receive(OTHER, "contract")
    assert store.get("ab").digest == DIGEST
    for prefix, count in (("a", 2), ("b", 0), ("", 2), ("%", 0), ("_b", 0)):
        with pytest.raises(LifecycleError, match=f"{count} sessions begin with"):
            store.get(prefix)
    assert store.find(DIGEST) is not None
    assert store.find("ab") is None


def test_what_ran_when_the_daemon_ended_has_failed(store):
    """Keys of a session die with the daemon: approved and running sessions fail, proposed and ended ones stay."""
    states = {
        "0" * 64: [],
        "1" * 64: [Step.APPROVE],
        "2" * 64: [Step.APPROVE, Step.START],
        "3" * 64: [Step.REFUSE],
        "4" * 64: [Step.APPROVE, Step.START, Step.COMPLETE],
    }
    for digest, steps in states.items():
        store.receive(digest, "contract")
        for step in steps:
            store.step(digest, step)
    assert store.fail_unfinished(FAULT) == ["1" * 64, "2" * 64]
    assert [s.state.value for s in store.all()] == ["proposed", "failed", "failed", "refused", "completed"]
    assert store.get("1").fault == FAULT
    assert store.fail_unfinished(FAULT) == []


def test_a_killed_daemon_leaves_what_it_said(path):
    """kill -9 at any moment: everything reported as done is there, and no row is half of anything."""
    with start(WRITER, path) as writer:
        said = [writer.stdout.readline().strip() for _ in range(20)]
        writer.kill()
        said += writer.stdout.read().splitlines()
    found = {session.digest: session for session in SessionStore(path).all()}
    assert set(said) <= set(found)
    for digest in said:
        assert (found[digest].state, found[digest].epoch) == (State.APPROVED, 1)
    assert len(found) <= len(said) + 1
    for session in found.values():
        assert (session.state, session.epoch) in {
            (State.PROPOSED, 0),
            (State.APPROVED, 0),
            (State.APPROVED, 1),
        }


def test_a_transaction_that_was_killed_did_not_happen(store, path):
    """A daemon that dies between reading and committing has changed nothing, and locks nobody out."""
    store.receive(DIGEST, "contract")
    with start(HOLDER, path) as holder:
        assert holder.stdout.readline() == "in the transaction\n"
        holder.kill()
    found = SessionStore(path).get(DIGEST)
    assert (found.state, found.epoch) == (State.PROPOSED, 0)
    store.step(DIGEST, Step.APPROVE)


def test_approvals_are_kept_as_they_came(store, path):
    """What every participant signed is there after a restart; a second delivery of it replaces the first."""
    store.receive(DIGEST, "contract")
    assert store.approvals(DIGEST) == {}
    for payload in ("first", "second"):
        envelopes = {name: {"payload": payload} for name in ("clinic-a", "dealer")}
        store.keep_approvals(DIGEST, envelopes)
    assert SessionStore(path).approvals(DIGEST) == envelopes


def test_sessions_are_found_by_state_in_the_order_they_came(store):
    """All or the newest of those in some states; and every one's state without its contract."""
    for number in range(6):
        store.receive(f"{number:064x}", f"contract {number}")
    store.step(f"{1:064x}", Step.REFUSE, FAULT)
    store.step(f"{4:064x}", Step.APPROVE)
    assert [int(session.digest, 16) for session in store.all()] == list(range(6))
    assert [int(session.digest, 16) for session in store.all([State.PROPOSED])] == [0, 2, 3, 5]
    assert [int(session.digest, 16) for session in store.all([State.PROPOSED, State.REFUSED], newest=3)] == [2, 3, 5]
    assert store.all([State.RUNNING]) == []
    assert [(int(digest, 16), state.value) for digest, state in store.states().items()] == [
        (0, "proposed"),
        (1, "refused"),
        (2, "proposed"),
        (3, "proposed"),
        (4, "approved"),
        (5, "proposed"),
    ]

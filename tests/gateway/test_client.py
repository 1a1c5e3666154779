"""The Python client: both kinds of it, sessions watched over a gateway's restart, and what a notebook shows."""

from __future__ import annotations

import asyncio
import sys
import threading
import tomllib
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

import pytest

import gateway
import mpc
import parties
from gateway.calls import FIRST_PAUSE_S, MOST_PAUSE_S, Patience, SessionFailed, Unreachable
from gateway.client import AsyncGateway, Gateway
from gateway.notebook import cell_output, figures_html, session_html
from gateway.watching import Event, Progressed, SessionEvent, StateChanged
from parties.errors import GatewayError
from parties.service.lifecycle import State
from parties.service.messages import Fault, Figures, Finished, Progress, ToldModel

T = TypeVar("T")
DEADLINE_S = 30


def told(session: str, iteration: int, loss: float | None = None) -> Progress:
    return Progress(session=session, iteration=iteration, of=300, rounds=3 * iteration, bytes_sent=7, loss=loss)


class Board:
    """A notebook's cell, which keeps all that was drawn."""

    def __init__(self) -> None:
        self.drawn: list[str] = []

    def __call__(self, thing: Any) -> Board:
        return self.update(thing)

    def update(self, thing: Any) -> Board:
        self.drawn.append(thing._repr_html_())
        return self


def awaited(house: Any, act: Callable[[AsyncGateway], Awaitable[T]]) -> T:
    """Do something with an asynchronous client."""

    async def run() -> T:
        async with AsyncGateway(house.serving.url, house.token, DEADLINE_S, page=2) as gateway:
            return await act(gateway)

    return asyncio.run(run())


@pytest.mark.usefixtures("consortium")
def test_both_clients_tell_the_same(gateway, client: Gateway, make_plan):
    """What can be asked at once or awaited has the same answers."""
    ids = [client.propose(make_plan()).id for _ in range(3)]

    async def asked(other: AsyncGateway) -> list[Any]:
        handle = await other.open(ids[0][:20])
        proposed = await other.propose(make_plan(), "a-key")
        again = await other.propose(make_plan(), "a-key")
        assert (proposed.id, proposed.state) == (again.id, State.PROPOSED)
        await proposed.cancel()
        assert await proposed.plan() == make_plan()
        assert await proposed.approvals() == {}
        assert (await other.login()).startswith(f"{gateway.serving.url}/")
        return [
            await other.sessions(states=[State.PROPOSED]),
            await other.participants(),
            await other.me(),
            [await other.log_proof(ids[0], one.entry) for one in await other.log_entries(ids[0])],
            await handle.contract(),
            await handle.look(),
            (await other.health()).name,
            await other.estimate(make_plan()),
            repr(other),
        ]

    found = awaited(gateway, asked)
    handle = client.open(ids[0][:20])
    here = [client.sessions(states=[State.PROPOSED]), client.participants(), client.me()]
    here += [[client.log_proof(ids[0], one.entry) for one in client.log_entries(ids[0])]]
    here += [handle.contract(), handle.look()]
    assert found[:6] == here
    assert len(found[0]) == 3
    assert found[6:] == [client.health().name, client.estimate(make_plan()), f"AsyncGateway({gateway.serving.url})"]
    assert repr(handle) == f"Session({ids[0][:12]}, proposed)"
    assert gateway.token not in repr(client)


@pytest.mark.parametrize("kind", ["at once", "awaited"])
def test_events_are_typed(gateway, consortium, client: Gateway, make_plan, kind):
    """States and progress, the present first, until the session is over."""
    session = client.propose(make_plan())
    consortium.started()
    consortium.a.say(told(session.id, 10, 0.5)).settled()
    for daemon in consortium.everybody:
        daemon.say(daemon.finished(session.id))

    async def watched(other: AsyncGateway) -> list[Event]:
        return [event async for event in (await other.open(session.id)).watch()]

    events = list(session.watch()) if kind == "at once" else awaited(gateway, watched)
    assert isinstance(events[0], StateChanged)
    assert isinstance(events[-1], StateChanged)
    assert events[-1].view.state is State.COMPLETED
    assert all(isinstance(event, StateChanged | Progressed) for event in events)


@pytest.mark.parametrize("kind", ["at once", "awaited"])
def test_a_watcher_outlives_the_gateway_s_restart(house, make_plan, kind):
    """The stream is taken up again at the gateway's return, and goes on to the session's end."""
    seen: list[Event] = []
    present, ended = threading.Event(), threading.Event()
    with house.serve(), house.client() as client:
        house.consortium()
        session = client.propose(make_plan()).id
        url, token = house.serving.url, house.token

        def keep(event: Event) -> None:
            seen.append(event)
            present.set()

        def watch() -> None:
            with Gateway(url, token, DEADLINE_S) as mine:
                for event in mine.open(session).watch(patience_s=DEADLINE_S):
                    keep(event)
            ended.set()

        async def watch_awaited() -> None:
            async with AsyncGateway(url, token, DEADLINE_S) as mine:
                async for event in (await mine.open(session)).watch(patience_s=DEADLINE_S):
                    keep(event)
            ended.set()

        target = watch if kind == "at once" else lambda: asyncio.run(watch_awaited())
        watcher = threading.Thread(target=target, daemon=True)
        watcher.start()
        assert present.wait(DEADLINE_S)
        house.hang_up()
    house.change('rest_address = "127.0.0.1:0"', f'rest_address = "{house.serving.rest}"')
    with house.serve(), house.client() as client:
        client.cancel(session)
        assert ended.wait(DEADLINE_S)
    watcher.join(DEADLINE_S)
    assert isinstance(seen[-1], StateChanged)
    assert seen[-1].view.state in {State.CANCELLED, State.FAILED}


def test_a_failed_session_says_cause_party_and_next_step(gateway, consortium, client: Gateway, make_plan):
    """Whoever waits is told who failed, of what, and what to do; the session's last view is with it."""
    session = client.propose(make_plan())
    consortium.started()
    fault = Fault(code="data", who="clinic-b", what="the records differ", action="bring both files together")
    consortium.b.say(Finished(session=session.id, fault=fault, seconds=1, rounds=0, bytes_sent=0))
    with pytest.raises(SessionFailed, match="failed by clinic-b: the records differ; bring both files together") as one:
        session.wait()
    assert (one.value.party, one.value.cause, one.value.view.state) == ("clinic-b", "the records differ", State.FAILED)
    assert session.state is State.FAILED

    async def waited(other: AsyncGateway) -> Any:
        return await (await other.open(session.id)).wait()

    with pytest.raises(SessionFailed, match="clinic-b"):
        awaited(gateway, waited)


@pytest.mark.usefixtures("consortium")
def test_a_cancelled_session_is_no_success(client: Gateway, make_plan):
    """An end without a fault names the state, and what to do."""
    session = client.propose(make_plan())
    session.cancel()
    with pytest.raises(SessionFailed, match="cancelled"):
        session.wait()


def test_a_notebook_shows_how_far_it_is(consortium, client: Gateway, make_plan):
    """A bar for each party while it runs, and at the end the figures; every value is escaped."""
    session = client.propose(make_plan(purpose="<script>alert(1)</script>"))
    board = Board()
    consortium.started()
    consortium.a.say(told(session.id, 150, 0.5)).settled()
    ended = threading.Event()

    def wait() -> None:
        client.open(session.id).wait(board)
        ended.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    for daemon in consortium.everybody:
        daemon.say(daemon.finished(session.id))
    assert ended.wait(DEADLINE_S)
    thread.join(DEADLINE_S)
    first, last = session.__class__(client, session.id)._repr_html_(), board.drawn[-1]
    assert session.id[:12] in first
    assert "completed" in last
    assert '<progress value="150" max="300"></progress> 150 of 300' in last
    assert "0.5000" in last
    assert "&lt;script&gt;" in last
    assert "<script>" not in "".join(board.drawn)


@pytest.mark.usefixtures("consortium")
def test_figures_are_a_table(client: Gateway, make_plan):
    """A row a model, a column a figure; of nothing that was told nothing is shown."""
    view = client.session(client.propose(make_plan()).id)
    assert figures_html(view) == ""
    models = (
        ToldModel(C="1.0", positive="<b>", figures=Figures(auc=0.75, log_loss=0.5)),
        ToldModel(C="2.0", positive="no", figures=Figures(auc=0.5)),
    )
    shown = session_html(view.id, view.model_copy(update={"models": models}))
    assert shown == view.model_copy(update={"models": models})._repr_html_()
    assert "&lt;b&gt;, C=1.0" in shown
    assert "<b>" not in shown
    assert all(text in shown for text in ("<th>auc</th>", "<th>log-loss</th>", "0.7500", "0.5000"))


@pytest.mark.usefixtures("consortium")
def test_a_quote_is_a_table(client: Gateway, make_plan):
    """What a session would cost, line by line as the command prints it."""
    found = client.estimate(make_plan())
    for line in found.lines:
        name, value = line.split(": ", 1)
        assert f"<tr><th>{name}</th><td>{value}</td></tr>" in found._repr_html_()


def test_the_cell_s_output_is_used_in_a_notebook_alone(monkeypatch):
    """In a plain interpreter, or IPython's terminal, nothing is drawn."""
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert cell_output() is None
    cells: list[Any] = []

    def display(thing: Any, *, display_id: bool) -> str:
        cells.append((thing, display_id))
        return "a cell"

    for shell, there in ((None, False), (SimpleNamespace(), False), (SimpleNamespace(kernel=object()), True)):
        known = SimpleNamespace(get_ipython=lambda shell=shell: shell, display=SimpleNamespace(display=display))
        monkeypatch.setitem(sys.modules, "IPython", known)
        assert (cell_output() is not None) is there
    output = cell_output()
    assert output is not None
    assert output("a thing") == "a cell"
    assert cells == [("a thing", True)]


def test_patience_ends():
    """Pauses grow to a limit; whoever stays away for longer than that is given up, whoever answers is not."""
    away = Unreachable("away")
    patience = Patience(1000)
    pauses = [patience.pause_s(away) for _ in range(8)]
    assert pauses[:2] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S]
    assert max(pauses) == pauses[-1] == MOST_PAUSE_S
    patience.heard()
    assert patience.pause_s(away) == FIRST_PAUSE_S
    impatient = Patience(-1)
    with pytest.raises(Unreachable, match="away"):
        impatient.pause_s(away)


def test_an_event_of_another_kind_is_named():
    """A gateway that tells more than this client knows."""
    with pytest.raises(GatewayError, match="an event of kind 'weather'"):
        _ = SessionEvent("weather", {}).typed


@pytest.mark.parametrize("package", [gateway, mpc, parties])
def test_type_checkers_see_its_types(package: ModuleType):
    """Each package says that it is typed (PEP 561), in a file that goes with what is installed."""
    assert resources.files(package).joinpath("py.typed").is_file()
    project = tomllib.loads(Path(package.__path__[0]).with_name("pyproject.toml").read_text())
    assert "py.typed" in project["tool"]["setuptools"]["package-data"][package.__name__]

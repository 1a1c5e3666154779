"""A session as it is followed in a terminal: one picture that is drawn again, or, where there is no terminal, lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gateway.console.standing import joined, sentence
from gateway.views import ParticipantState, ProgressView, SessionView
from gateway.watching import Event, Progressed, StateChanged
from parties.service.lifecycle import State

BAR_WIDTH = 40
DRAWN_A_SECOND = 8
COLOURS = {"completed": "green", "failed": "red", "refused": "red", "running": "blue"}


class Shown(Protocol):
    """Where events go as they come."""

    def take(self, event: Event) -> None: ...


class Lines:
    """What is new, line by line."""

    def __init__(self, console: Console) -> None:
        self._console, self._said, self._unit = console, "", "iteration"
        self._course: dict[str, Progressed] = {}

    def take(self, event: Event) -> None:
        if isinstance(event, Progressed):
            self._advanced(event, self._course.get(event.who))
            self._course[event.who] = event
            return
        self._unit = unit(event.view)
        said = standing(event.view)
        if said != self._said:
            self._say(said)
        self._said = said

    def _advanced(self, event: Progressed, before: Progressed | None) -> None:
        if event.stage is not None and (before is None or event.stage != before.stage):
            self._say(f"{event.who}: {event.stage}")
        counted = (event.iteration, event.of, event.loss)
        if event.of and (before is None or counted != (before.iteration, before.of, before.loss)):
            loss = "" if event.loss is None else f", loss {event.loss:.4f}"
            self._say(f"{event.who}: {self._unit} {event.iteration} of {event.of}{loss}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class Picture:
    """The newest of all that was told; `live` draws it."""

    def __init__(self, live: Live) -> None:
        self._live, self._view = live, None
        self._course: dict[str, Progressed] = {}

    _view: SessionView | None

    def take(self, event: Event) -> None:
        if isinstance(event, StateChanged):
            self._view = event.view
        else:
            self._course[event.who] = event
        if self._view is not None:
            self._live.update(self._drawn(self._view), refresh=isinstance(event, StateChanged))

    def _drawn(self, view: SessionView) -> RenderableType:
        head = Text.assemble((view.purpose, "bold"), (f"  {view.id[:12]}", "dim"))
        state = Text.assemble((view.state.value, COLOURS.get(view.state.value, "yellow")), f"  {sentence(view)}")
        told = [at for one in view.participants if (at := self._at(one)) and at.of]
        return Group(head, state, *self._bar(view, told), self._table(view))

    def _bar(self, view: SessionView, told: list[Progressed | ProgressView]) -> Iterator[RenderableType]:
        """Of the slowest party."""
        if told:
            slowest = min(told, key=lambda at: at.iteration)
            losses = [at.loss for at in told if at.loss is not None]
            line = Table.grid(padding=(0, 1))
            of = f"{unit(view)} {slowest.iteration:,} of {slowest.of:,}"
            loss = f"loss {losses[0]:.4f}" if losses else ""
            line.add_row(ProgressBar(max(1, slowest.of), slowest.iteration, width=BAR_WIDTH), of, loss)
            yield line

    def _table(self, view: SessionView) -> Table:
        table = Table(box=None, pad_edge=False)
        for title in ("participant", "connected", "signed", "stage"):
            table.add_column(title)
        for title in (unit(view), "rounds", "MB sent"):
            table.add_column(title, justify="right")
        for one in view.participants:
            at, costs = self._at(one), one.report or self._at(one)
            table.add_row(
                Text(one.name),
                "yes" if one.online else Text("no", "yellow"),
                "yes" if one.approved else Text(one.waiting or "no", "yellow"),
                (at.stage or "") if at and not one.report else "",
                f"{at.iteration:,}" if at and at.of else "",
                f"{costs.rounds:,}" if costs else "",
                f"{costs.bytes_sent / 1e6:.1f}" if costs else "",
            )
        return table

    def _at(self, one: ParticipantState) -> Progressed | ProgressView | None:
        return self._course.get(one.name) or one.progress


def follow(events: Iterator[Event], console: Console) -> SessionView | None:
    """Show events until there are no more; the session as it was seen last."""
    if not console.is_terminal:
        return _told(events, Lines(console))
    with Live(console=console, refresh_per_second=DRAWN_A_SECOND) as live:
        return _told(events, Picture(live))


def _told(events: Iterator[Event], shown: Shown) -> SessionView | None:
    view = None
    for event in events:
        shown.take(event)
        if isinstance(event, StateChanged):
            view = event.view
    return view


def standing(view: SessionView) -> str:
    """The state, who is waited for, and who of these can't hear it."""
    said = [sentence(view)] if sentence(view) else []
    away = [one.name for one in view.participants if one.name in view.waiting_for and not one.online]
    if away:
        said.append(f"{joined(away)} {'is' if len(away) == 1 else 'are'} not connected to the gateway")
    return f"{view.state}: {'; '.join(said)}" if said else view.state.value


def unit(view: SessionView) -> str:
    """What progress counts."""
    return "row" if view.kind == "prediction" else "iteration"


def so_far(view: SessionView) -> Iterator[str]:
    """Where each participant of a run is, and the loss that was told last."""
    for one in view.participants:
        if view.state is State.RUNNING and one.progress is not None:
            at = one.progress
            counted = f"{unit(view)} {at.iteration:,} of {at.of:,}" if at.of else ""
            yield f"{one.name}: {', '.join(filter(None, (at.stage, counted)))}"
    told = max((loss for one in view.participants if one.progress for loss in one.progress.losses), default=None)
    if told is not None:
        yield "loss after {} iterations: {:.4f}".format(*told)

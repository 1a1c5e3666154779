"""Sessions, figures and quotes as a notebook shows them. Every value is escaped: what others wrote stays text."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from jinja2 import Environment, StrictUndefined, select_autoescape

from gateway.views import SessionView

if TYPE_CHECKING:
    from gateway.planning.estimate import Estimate
    from gateway.watching import Progressed

REDRAWN_S = 0.2  # no oftener, but for a change of state

_SHAPES = Environment(autoescape=select_autoescape(default_for_string=True), undefined=StrictUndefined)
_SESSION = _SHAPES.from_string("""<div>
<strong>{{ view.purpose if view else "session" }}</strong> <code>{{ id[:12] }}</code>
{% if view %}<em>{{ view.state }}</em>
{%- if view.waiting_for %}, waits for {{ view.waiting_for | join(", ") }}{% endif %}
{% if view.fault %}<p><strong>{{ view.fault.who }}</strong>: {{ view.fault.what }}
{% if view.fault.action %}<br>{{ view.fault.action }}{% endif %}</p>{% endif %}
<table><thead><tr><th>participant</th><th>role</th><th>online</th><th>approved</th><th>progress</th><th>loss</th></tr></thead>
<tbody>{% for one in view.participants %}{% set at = course[one.name] or one.progress %}
<tr><td>{{ one.name }}</td><td>{{ one.role }}</td><td>{{ "yes" if one.online else "no" }}</td>
<td>{{ "yes" if one.approved else one.waiting or "not yet" }}</td>
<td>{% if at %}{{ at.stage or "" }}
{% if at.of %}<progress value="{{ at.iteration }}" max="{{ at.of }}"></progress> {{ at.iteration }} of {{ at.of }}
{% endif %}{% endif %}</td><td>{% if at and at.loss is not none %}{{ "%.4f" | format(at.loss) }}{% endif %}</td></tr>
{% endfor %}</tbody></table>{{ figures }}{% endif %}</div>""")
_FIGURES = _SHAPES.from_string("""<table><thead><tr><th>model</th>{% for name in names %}<th>{{ name }}</th>{% endfor %}
</tr></thead><tbody>{% for title, told in rows %}<tr><td>{{ title }}</td>
{% for name in names %}<td>{% if name in told %}{{ "%.4f" | format(told[name]) }}{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>""")
_ESTIMATE = _SHAPES.from_string("""<table><tbody>{% for name, value in rows %}
<tr><th>{{ name }}</th><td>{{ value }}</td></tr>{% endfor %}</tbody></table>""")


class HasHtml(Protocol):
    def _repr_html_(self) -> str: ...


class Cell(Protocol):
    """What is on a board already, and can be drawn anew."""

    def update(self, shown: HasHtml) -> object: ...


Board: TypeAlias = Callable[[HasHtml], Cell]


class Shown:
    """A thing on a board, drawn again as it changes; without a board nothing."""

    def __init__(self, thing: HasHtml, board: Board | None) -> None:
        self._thing, self._drawn = thing, time.monotonic()
        self._cell = board(thing) if board is not None else None

    def again(self, *, finished: bool) -> None:
        """Draw it, unless it was drawn a moment ago; with `finished` in any case."""
        if self._cell is not None and (finished or time.monotonic() - self._drawn > REDRAWN_S):
            self._drawn = time.monotonic()
            self._cell.update(self._thing)


def cell_output() -> Board | None:
    """The output of the notebook's cell that runs this; None in a plain interpreter."""
    interactive = sys.modules.get("IPython")
    if interactive is None or getattr(interactive.get_ipython(), "kernel", None) is None:
        return None

    def show(thing: HasHtml) -> Any:
        return interactive.display.display(thing, display_id=True)

    return show


def session_html(session: str, view: SessionView | None, course: Iterable[Progressed] = ()) -> str:
    """Who takes part and how far each is; the fault of a session that failed, the figures of one that completed."""
    seen = {one.name: None for one in view.participants} if view else {}
    latest = {one.who: one for one in course} if view and not view.models else {}
    return _SESSION.render(id=session, view=view, course=seen | latest, figures=figures_html(view) if view else "")


def figures_html(view: SessionView) -> Any:
    """What the session was told of each model on held-out rows; empty if nothing was."""
    from markupsafe import Markup

    rows = [(f"{one.positive}, C={one.C}", one.figures.told()) for one in view.models if one.figures is not None]
    names = list(dict.fromkeys(name for _, told in rows for name in told))
    return Markup(_FIGURES.render(rows=rows, names=names)) if names else ""  # noqa: S704 - rendered, and so escaped


def estimate_html(found: Estimate) -> str:
    return _ESTIMATE.render(rows=[line.split(": ", 1) for line in found.lines])

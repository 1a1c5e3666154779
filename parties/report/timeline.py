"""The picture of a session: a line for each organisation, and on it, in order, what it did and what it was told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from parties.report.facts import GATEWAY, Facts, Moment

LEFT, RIGHT, TOP = 24, 56, 34  # lengths are in the picture's own units
LANE, LABEL, FOOT = 42, 20, 84
WIDTH, STEP = 720, 34  # at least so wide, and so far from one moment to the next


@dataclass(frozen=True)
class Lane:
    """One organisation's line."""

    name: str
    y: int


@dataclass(frozen=True)
class Mark:
    """What one organisation has to do with a moment."""

    y: int
    told: bool


@dataclass(frozen=True)
class Column:
    """One moment: its marks, and a line that ties them where there are several."""

    number: int
    x: int
    clock: str
    marks: tuple[Mark, ...]

    @property
    def top(self) -> int:
        return min(mark.y for mark in self.marks)

    @property
    def bottom(self) -> int:
        return max(mark.y for mark in self.marks)


@dataclass(frozen=True)
class Picture:
    """All of it."""

    width: int
    height: int
    lanes: tuple[Lane, ...]
    columns: tuple[Column, ...]

    @property
    def end(self) -> int:
        """Where the lines end."""
        return self.width - RIGHT + 20

    @property
    def foot(self) -> int:
        """Below the last line."""
        return self.lanes[-1].y + LABEL


def picture(facts: Facts) -> Picture:
    """The moments at even distances: seconds of computing and months of keeping fit on one page."""
    moments, names = facts.moments, [one.name for one in facts.involved]
    if any(GATEWAY in (*moment.acting, *moment.told) for moment in moments):
        names.append(GATEWAY)
    lanes = tuple(Lane(name, TOP + LANE * number) for number, name in enumerate(names))
    step = max(STEP, (WIDTH - LEFT - RIGHT) // max(1, len(moments)))
    heights = {lane.name: lane.y for lane in lanes}
    columns = tuple(
        Column(
            number=number + 1,
            x=LEFT + step // 2 + step * number,
            clock=clock,
            marks=_marks(moment, heights),
        )
        for number, (moment, clock) in enumerate(zip(moments, _clocks(moments), strict=True))
    )
    width = max(WIDTH, LEFT + RIGHT + step * len(moments))
    return Picture(width, lanes[-1].y + LABEL + FOOT, lanes, columns)


def _marks(moment: Moment, heights: dict[str, int]) -> tuple[Mark, ...]:
    names = dict.fromkeys((*moment.acting, *moment.told))
    return tuple(Mark(heights[name], name in moment.told) for name in names)


def _clocks(moments: Sequence[Moment]) -> list[str]:
    """Times, with the day where it is another than the moment's before."""
    days: list[datetime | None] = [None, *(moment.at for moment in moments)]
    return [
        f"{moment.at:%H:%M:%S}" if before and before.date() == moment.at.date() else f"{moment.at:%d %b %H:%M:%S}"
        for before, moment in zip(days, moments, strict=False)
    ]

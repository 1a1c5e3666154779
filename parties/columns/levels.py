"""Levels of columns of which several parties hold rows: what each tells the others, and what all take.

An owner tells the levels that enough of its own training rows have, sorted: neither how many have them nor which level
has most. How much it sends follows from the contract: a level fills a slot, and what is unused is zeros.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from parties.columns.encoding import ReadColumn
from parties.errors import DataError

LEVEL_BYTES = 128  # of UTF-8, a multiple of a word's; a longer level is told to nobody, and is one of the others
Slots: TypeAlias = NDArray[np.uint8]  # (levels, LEVEL_BYTES)
Lists: TypeAlias = dict[str, tuple[str, ...]]  # by the column's name


def own_levels(column: ReadColumn, most: int, smallest: int) -> tuple[str, ...]:
    """What an owner tells of a column's training rows: so many levels, those that most rows have, and enough; sorted.

    Of equally frequent ones the first by code point.
    """
    counts = np.bincount(column.present.astype(np.int64), minlength=len(column.levels))
    fits = [count >= smallest and _is_told(level) for count, level in zip(counts.tolist(), column.levels, strict=True)]
    first = np.argsort(-np.where(fits, counts, 0), kind="stable")[: min(most, sum(fits))]
    return tuple(sorted(column.levels[place] for place in first.tolist()))


def joint(lists: Sequence[Sequence[str]], most: int) -> tuple[str, ...]:
    """All that anybody told, sorted; if these are too many, those that more parties told, of equals the first."""
    told = Counter(level for levels in lists for level in levels)
    return tuple(sorted(sorted(told, key=lambda level: (-told[level], level))[:most]))


def names(words: NDArray[np.int64]) -> list[str]:
    """The levels in what was told, as an owner after the other named them. Raises: DataError if they are damaged."""
    try:
        slots = np.frombuffer(words.astype("<i8").tobytes(), dtype="u1").reshape(-1, LEVEL_BYTES)
        return [level for slot in slots if (level := bytes(slot).rstrip(b"\0").decode())]
    except ValueError as exc:
        raise DataError("what was told is no levels", action="restore it from a backup") from exc


def _is_told(level: str) -> bool:
    return bool(level) and level.isprintable() and level == level.strip() and len(level.encode()) <= LEVEL_BYTES


def in_slots(levels: Mapping[str, Sequence[str]], caps: Mapping[str, int]) -> Slots:
    found = np.zeros((sum(caps.values()), LEVEL_BYTES), dtype=np.uint8)
    start = 0
    for name, most in caps.items():
        for place, level in enumerate(levels[name], start):
            content = level.encode()
            found[place, : len(content)] = np.frombuffer(content, dtype=np.uint8)
        start += most
    return found


def read_slots(slots: Slots, caps: Mapping[str, int], who: str) -> Lists:
    """Raises: DataError unless each column's are sorted levels, as `own_levels` gives them."""
    found, start = {}, 0
    try:
        for name, most in caps.items():
            told = [bytes(slot).rstrip(b"\0").decode() for slot in slots[start : start + most]]
            levels = tuple(level for level in told if level)
            if (
                list(levels) != told[: len(levels)]
                or sorted(set(levels)) != list(levels)
                or not all(map(_is_told, levels))
            ):
                raise ValueError
            found[name], start = levels, start + most
    except ValueError:
        raise DataError(
            f"what {who} sent as levels are none", action="a party did not follow the protocol; ask its operator"
        ) from None
    return found

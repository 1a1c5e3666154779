"""Which rows train a model, and which ones judge it: folds of a cross-validation, classes against the rest.

A row's fold is its place modulo the number of folds or, where columns are weighed by the label, modulo twice as many:
remainders that are no fold's are of rows that weigh, and train every model (mpc/EVIDENCE.md). The parties know it, as
they know the rows' order, which is that of a keyed hash of the ids: no column decides it, and no rule of the ids keeps
step with it. So what leaves a row out of a model is a 0 that they know, which multiplies shares and costs no round.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpc.evidence_program import fold_period
from mpc.fused_program import Fused
from mpc.ring import Words


def trains(program: Fused, places: Words) -> Words | None:
    """1 where a row trains a model, else 0; None if every row trains all. Shapes: places (rows,) -> (rows, models).

    Places are those at which rows were masked, whatever order a solver has brought them into since.
    """
    return 1 - _left_out(program, places) if program.folds else None


def judges(program: Fused, places: Words) -> Words | None:
    """1 where a row's loss counts: those of the fold that the model leaves out, or all. Shapes as of `trains`."""
    return _left_out(program, places) | (np.array(_folds(program)) < 0) if program.folds else None


def label_columns(program: Fused) -> list[int]:
    """Which column of labels each model is trained for."""
    return [model.label for model in program.models]


def told_columns(program: Fused) -> list[int]:
    """The same of those that are told."""
    return [model.label for model in program.models[: program.results]]


def totals(program: Fused) -> tuple[tuple[int, int], ...]:
    """The columns of labels, and the folds whose rows of them count (-1: all), that losses take sums of."""
    return tuple(dict.fromkeys(_total(program)))


def total_columns(program: Fused) -> list[int]:
    """Which of them each model's loss takes."""
    known = totals(program)
    return [known.index(each) for each in _total(program)]


def spread(program: Fused, labels: Words) -> Words:
    """Labels as `totals` takes them, zero in rows that don't count. Shapes: (rows, classes) -> (rows, totals)."""
    found = labels[:, [label for label, _ in totals(program)]]
    if program.folds:
        place = np.arange(len(labels))[:, None] % _period(program)
        folds = np.array([fold for _, fold in totals(program)])
        found = found * ((folds < 0) | (place == folds))
    return found


def summed(program: Fused, losses: Words) -> Words:
    """Losses as a report tells them: of each model on all rows; then, of each C, of all rows by models without them.

    Shapes: (models,) -> (reported,), sums over rows.
    """
    whole = len(program.grid) * program.classes
    if not program.folds:
        return losses
    left_out = losses[whole:].reshape(program.folds, len(program.grid), program.classes)
    return np.concatenate([losses[:whole], left_out.sum(axis=(0, 2))])


def told(program: Fused, validated: Sequence[float]) -> list[int]:
    """The models that are told: all that have all rows or, of a cross-validation, those of the C with the least loss.

    Among equals it is the first. Shapes: validated (values of C,).
    """
    whole = len(program.grid) * program.classes
    if not program.folds:
        return list(range(whole))
    best = int(np.argmin(validated))
    return list(range(best * program.classes, (best + 1) * program.classes))


def _total(program: Fused) -> list[tuple[int, int]]:
    return [(model.label, fold) for model, fold in zip(program.models, _folds(program), strict=True)]


def _folds(program: Fused) -> tuple[int, ...]:
    """The fold that each model leaves out, -1 if none."""
    return tuple(-1 if model.fold is None else model.fold for model in program.models)


def _period(program: Fused) -> int:
    return fold_period(program.folds, program.evidence)


def _left_out(program: Fused, places: Words) -> Words:
    """1 where a row is of the fold that a model leaves out. Shapes: places (rows,) -> (rows, models)."""
    return np.asarray(places[:, None] % _period(program) == np.array(_folds(program)), dtype=np.int64)

"""A worker's part of weighing columns by the label: own bins go in, weights of evidence come out, before training.

What an owner is told is kept with its encoding, so that new rows are weighed the very same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpc.evidence import Counted, counted, tell_values, weigh, weighing_rows
from mpc.evidence_program import jointly
from mpc.fused_program import Fused
from mpc.runtime import Runtime
from parties.agreement.contract import Contract
from parties.columns.encoding import Encoding, ReadColumn
from parties.columns.evidence import weights
from parties.process.job import OwnEvidence
from parties.service.messages import InformationValue

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Told:
    """What came of weighing; hidden in print."""

    encoding: Encoding = field(repr=False)  # complete
    evidence: tuple[OwnEvidence, ...] = field(default=(), repr=False)  # of own columns
    information_values: tuple[InformationValue, ...] = ()  # of all parties' columns, if all are told


def weighed(
    contract: Contract,
    encoding: Encoding,
    columns: Sequence[ReadColumn],
    training: Rows,
    labels: Rows | None,
    runtime: Runtime,
) -> Told:
    """The encoding with its weights, what they are of, and what all are told of each column.

    Shapes: columns (own rows,) each; training, which of these are trained on; labels (own rows,) where there are some.
    Reveals: see mpc.evidence.weigh and tell_values.
    """
    program = contract.program
    if not isinstance(program, Fused) or program.evidence is None:
        return Told(encoding)
    bins = _own_bins(program, runtime.rank, contract, encoding, columns, training)
    placed, of_rows = _placed(program, runtime.rank, bins, None if labels is None else labels[training])
    found = weigh(program, placed, of_rows, runtime)
    for column, own in bins.items():
        if column not in found and labels is not None:  # which then are all
            count = next(each.bins for each in program.evidence.columns if each.column == column)
            weighs = weighing_rows(program, program.evidence)
            found[column] = counted(own[weighs], labels[training][weighs], count, program.evidence.smallest_cell)
    told = {column: weights(found[column]) for column in bins}
    values = tell_values(program, {column: each.information_value for column, each in told.items()}, runtime)
    complete = encoding.weighed(each.of_bins for each in told.values())
    return Told(complete, _shown(complete, [found[column] for column in bins]), _named(contract, values))


def _named(contract: Contract, values: Sequence[float]) -> tuple[InformationValue, ...]:
    return tuple(
        InformationValue(party=each.party, column=each.name, value=value)
        for each, value in zip(contract.weighed, values, strict=False)
    )


def _own_bins(
    program: Fused, rank: int, contract: Contract, encoding: Encoding, columns: Sequence[ReadColumn], training: Rows
) -> dict[int, Rows]:
    """Of each own column that is weighed, by its place in the joint table, the bins of the training rows."""
    held, party = program.held(rank), contract.parties[rank]
    places = {each.name: held[each.start] for each in contract.preparation.weighed(party.columns)}
    found = {}
    for fitted, column in zip(encoding.columns, columns, strict=True):
        if fitted.name in places:
            found[places[fitted.name]] = fitted.bins(column.take(training))
    return found


def _placed(program: Fused, rank: int, bins: dict[int, Rows], labels: Rows | None) -> tuple[Rows, Rows | None]:
    """At their places in a table of all parties' rows; -1, and 0 of labels, elsewhere."""
    columns = jointly(program, program.evidence)
    found = np.full((program.rows, len(columns)), -1, dtype=np.int64)
    for place, each in enumerate(columns):
        for block in program.of(rank):
            if each.column in bins and block.columns[0] <= each.column < block.columns[1]:
                found[block.place[0], place] = bins[each.column]
    if labels is None:
        return found, None
    placed = np.zeros(program.rows, dtype=np.int64)
    for part in program.labels:
        if part.owner == rank:
            placed[part.place] = labels
    return found, placed


def _shown(encoding: Encoding, counts: Sequence[Counted]) -> tuple[OwnEvidence, ...]:
    """For the owner's own result."""
    own = [column for column in encoding.columns if column.recipe.weight_of_evidence]
    return tuple(
        OwnEvidence(
            column=column.name,
            bins=tuple(column.bin_names),
            positives=each.positives,
            negatives=each.negatives,
            weights=column.weights,
        )
        for column, each in zip(own, counts, strict=True)
    )

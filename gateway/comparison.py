"""What only somebody with all files can compute: the secure model beside scikit-learn's on the pooled table.

No party of a real session could; the sandbox may, because it was given every file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

from parties.contract import Contract
from parties.job import Outcome
from parties.messages import Figures
from parties.preparation import split
from parties.sources import read_csv
from parties.tables import Table, features, labels

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """Figures of the same held-out rows, and the coefficients' greatest difference."""

    training_rows: int
    held_out_rows: int
    secure: float
    pooled: float
    alone: dict[str, float]
    coefficient_difference: float  # standardised units
    disclosed: Figures | None  # what the session was told of the secure model, whose scores nobody saw
    pooled_figures: Figures  # by scikit-learn, from the pooled model's scores


@dataclass(frozen=True)
class _Pooled:
    """All records, part after part: columns of each side of the division, labels, and which rows train."""

    sides: tuple[Values, ...]  # (rows, columns) each, some of none
    y: NDArray[np.int64]
    trains: tuple[NDArray[np.int64], ...]  # of each part
    held_out: NDArray[np.int64]

    @classmethod
    def of(cls, contract: Contract, tables: Sequence[Table]) -> _Pooled:
        division = contract.division
        longest = next(side for side in division.sides if len(side) == division.parts)
        ids = [tables[rank].ids for rank in longest]
        starts = np.cumsum([0, *map(len, ids)])
        splits = [split(each, contract.split_key, contract.split.held_out) for each in ids]
        holders = [contract.rank(name) for name in contract.label.holders] or list(longest)
        label = contract.label

        def below(side: Sequence[int], content: Callable[[int], NDArray[Any]]) -> NDArray[Any]:
            """Rows of a side's parties in the order of the pooled table's."""
            if len(side) > 1:
                return np.concatenate([content(rank) for rank in side])
            places = {record: place for place, record in enumerate(tables[side[0]].ids)}
            return content(side[0])[[places[record] for part in ids for record in part]]

        def columns(rank: int) -> Values:
            wanted = contract.parties[rank].columns
            return features(tables[rank], wanted, varied=False) if wanted else np.zeros((tables[rank].rows, 0))

        return cls(
            sides=tuple(below(side, columns) for side in division.sides),
            y=below(holders, lambda rank: labels(tables[rank], label.column, label.positive)),
            trains=tuple(rows + start for (rows, _), start in zip(splits, starts, strict=False)),
            held_out=np.concatenate([rows + start for (_, rows), start in zip(splits, starts, strict=False)]),
        )

    @property
    def X(self) -> Values:  # noqa: N802 - the notation's letter
        return np.hstack(self.sides)

    def train(self, parts: Iterable[int]) -> NDArray[np.int64]:
        return np.concatenate([self.trains[part] for part in parts])


def compare(contract: Contract, files: Mapping[str, Path], outcomes: Mapping[str, Outcome]) -> Comparison:
    """Score the held-out rows by the secure model, the pooled one, and each party's part alone, with labels."""
    division, names = contract.division, [party.name for party in contract.parties]
    data = _Pooled.of(contract, [read_csv(files[party.name], party.id_column) for party in contract.parties])
    X, y, train, held_out = data.X, data.y, data.train(range(division.parts)), data.held_out
    pooled = _Model(contract, X, y, train)
    told = [outcomes[names[side[0]]] for side in division.sides]  # partners are told the same
    secure = sum(_scores(outcome, values) for outcome, values in zip(told, data.sides, strict=True))
    alone = {}
    for side, values in zip(division.sides, data.sides, strict=True):
        for rank in side if values.size else ():
            own = _Model(contract, values, y, data.train(division.parts_of(rank)))
            alone[names[rank]] = own.auc(values, y, held_out)
    shared = np.concatenate([np.array(outcome.standardised) for outcome in told])
    return Comparison(
        training_rows=len(train),
        held_out_rows=len(held_out),
        secure=float(roc_auc_score(y[held_out], np.asarray(secure)[held_out])),
        pooled=pooled.auc(X, y, held_out),
        alone=alone,
        coefficient_difference=float(np.abs(shared - pooled.coefficients).max()),
        disclosed=told[0].figures,
        pooled_figures=pooled.figures(X, y, held_out),
    )


def _scores(outcome: Outcome, values: Values) -> Values:
    """A party's part of the linear scores. Shapes: values (rows, columns) -> (rows,)."""
    return np.asarray(values @ np.array(outcome.original.coefficients) + outcome.original.offset)


class _Model:
    """scikit-learn on standardised training rows, with the contract's penalty."""

    def __init__(self, contract: Contract, values: Values, y: NDArray[np.int64], train: NDArray[np.int64]) -> None:
        self._scaler = StandardScaler().fit(values[train])
        self._model = LogisticRegression(
            C=float(contract.model.C), fit_intercept=contract.model.fit_intercept, tol=1e-8, max_iter=10_000
        ).fit(self._scaler.transform(values[train]), y[train])

    @property
    def coefficients(self) -> Values:
        return np.asarray(self._model.coef_[0], dtype=np.float64)

    def auc(self, values: Values, y: NDArray[np.int64], held_out: NDArray[np.int64]) -> float:
        scores = self._model.decision_function(self._scaler.transform(values[held_out]))
        return float(roc_auc_score(y[held_out], scores))

    def figures(self, values: Values, y: NDArray[np.int64], held_out: NDArray[np.int64]) -> Figures:
        p = self._model.predict_proba(self._scaler.transform(values[held_out]))
        return Figures(
            auc=self.auc(values, y, held_out),
            log_loss=float(log_loss(y[held_out], p, labels=[0, 1])),
            brier=float(brier_score_loss(y[held_out], p[:, 1])),
        )

"""What only somebody with all files can compute: the secure model beside scikit-learn's on the pooled table.

No party of a real session could; the sandbox may, because it was given every file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

from mpc.curves import CURVES, Points, exact_points
from mpc.moments import pooled_mean
from mpc.quantiles import quantiles_of
from parties.agreement.contract import Contract
from parties.columns.encoding import Agreed, Encoding, ReadColumn, winsorised
from parties.columns.levels import joint, own_levels
from parties.columns.preparation import split
from parties.columns.reading import read_columns
from parties.data.tables import Table, labels
from parties.process.job import Outcome, OwnEvidence, OwnModel
from parties.service.messages import Figures

Values = NDArray[np.float64]


@dataclass(frozen=True)
class ComparedModel:
    """A model that was told, beside scikit-learn's of the same C and class, on the same held-out rows."""

    C: str
    positive: str
    secure: float  # AUC
    pooled: float  # AUC
    coefficient_difference: float  # the greatest, standardised units
    disclosed: Figures | None  # what the session was told of the secure model, whose scores nobody saw
    pooled_figures: Figures  # by scikit-learn, from the pooled model's scores


@dataclass(frozen=True)
class Comparison:
    """Figures of the same held-out rows; of several models AUCs are means."""

    training_rows: int
    held_out_rows: int
    models: tuple[ComparedModel, ...]
    alone: dict[str, float]

    @property
    def secure(self) -> float:
        return fmean(model.secure for model in self.models)

    @property
    def pooled(self) -> float:
        return fmean(model.pooled for model in self.models)

    @property
    def coefficient_difference(self) -> float:
        return max(model.coefficient_difference for model in self.models)


@dataclass(frozen=True)
class _Pooled:
    """All records, part after part: columns of each side of the division, classes, and which rows train."""

    sides: tuple[Values, ...] = field(repr=False)  # (rows, columns) each, some of none
    classes: NDArray[np.int64] = field(repr=False)  # by number
    trains: tuple[NDArray[np.int64], ...] = field(repr=False)  # of each part
    held_out: NDArray[np.int64] = field(repr=False)

    @classmethod
    def of(cls, contract: Contract, tables: Sequence[Table], evidence: Sequence[Sequence[OwnEvidence]]) -> _Pooled:
        """`evidence`: of each party's columns that are weighed by the label, what it was told."""
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

        trained = {part[row] for part, (rows, _) in zip(ids, splits, strict=True) for row in rows}

        read = [
            read_columns(table, party.columns, contract.preparation)
            for table, party in zip(tables, contract.parties, strict=True)
        ]
        training = [np.array([row for row, record in enumerate(table.ids) if record in trained]) for table in tables]

        def columns(rank: int) -> Values:
            agreed = _agreed(contract, division.side(rank), read, training)
            fitted = Encoding.fit(contract.preparation, read[rank], training[rank], agreed)
            return fitted.weighed(each.weights for each in evidence[rank]).apply(read[rank], tables[rank].rows)

        trains = tuple(rows + start for (rows, _), start in zip(splits, starts, strict=False))
        sides = (below(side, columns) for side in division.sides)
        return cls(
            sides=tuple(_varied(values, np.concatenate(trains)) for values in sides),
            classes=below(holders, lambda rank: labels(tables[rank], label.column, label.told_apart)),
            trains=trains,
            held_out=np.concatenate([rows + start for (_, rows), start in zip(splits, starts, strict=False)]),
        )

    @property
    def X(self) -> Values:  # noqa: N802 - the notation's letter
        return np.hstack(self.sides)

    def train(self, parts: Iterable[int]) -> NDArray[np.int64]:
        return np.concatenate([self.trains[part] for part in parts])


def _agreed(
    contract: Contract,
    side: Sequence[int],
    columns: Sequence[Sequence[ReadColumn]],
    training: Sequence[NDArray[np.int64]],
) -> dict[str, Agreed]:
    """What parties with the same columns find together."""
    preparation, found = contract.preparation, {}

    def each(name: str) -> list[ReadColumn]:
        owned = (next(one for one in columns[rank] if one.name == name).take(training[rank]) for rank in side)
        return list(owned)

    for name in contract.agreed_columns(side[0]):
        most, least = preparation.of(name).most_levels, preparation.smallest_bin
        found[name] = Agreed(levels=joint([own_levels(one, most, least) for one in each(name)], most))
    for name in contract.ranked_columns(side[0]).values():
        pooled = np.concatenate([one.present for one in each(name)])
        found[name] = Agreed(quantiles=quantiles_of(pooled, preparation.of(name).quantiles))
    for name in contract.averaged_columns(side[0]).values():
        pooled, agreed = np.concatenate([one.present for one in each(name)]), found.get(name, Agreed())
        found[name] = replace(agreed, mean=pooled_mean(winsorised(preparation.of(name), pooled, agreed)))
    return found


def _varied(values: Values, training: NDArray[np.int64]) -> Values:
    """Columns that vary in the training rows; the others have no weight. Shapes: (rows, columns) -> (rows, fewer)."""
    return values[:, np.ptp(values[training], axis=0) > 0]


def compare(contract: Contract, tables: Mapping[str, Table], outcomes: Mapping[str, Outcome]) -> Comparison:
    """Score the held-out rows by the secure models, pooled ones, and each party's part alone, with labels."""
    division, names = contract.division, [party.name for party in contract.parties]
    data = _Pooled.of(
        contract, [tables[party.name] for party in contract.parties], [outcomes[name].evidence for name in names]
    )
    told = [outcomes[names[side[0]]] for side in division.sides]  # partners are told the same
    models: list[ComparedModel] = []
    alone: dict[str, list[float]] = {}
    for place in range(len(told[0].models)):
        own = [outcome.models[place] for outcome in told]
        y = _positives(contract, data.classes, own[0].positive)
        models.append(_compared(contract, data, y, own))
        for side, values in zip(division.sides, data.sides, strict=True):
            for rank in side if values.size else ():
                model = _Model(contract, own[0].C, values, y, data.train(division.parts_of(rank)))
                alone.setdefault(names[rank], []).append(model.auc(values, y, data.held_out))
    return Comparison(
        training_rows=sum(map(len, data.trains)),
        held_out_rows=len(data.held_out),
        models=tuple(models),
        alone={name: fmean(each) for name, each in alone.items()},
    )


def _positives(contract: Contract, classes: NDArray[np.int64], positive: str) -> NDArray[np.int64]:
    """1 where a row is of the class that a model tells from the others. Of two classes only that one has a number."""
    named = contract.label.told_apart
    return np.asarray(classes == (named.index(positive) if len(named) > 1 else 1), dtype=np.int64)


def _compared(contract: Contract, data: _Pooled, y: NDArray[np.int64], own: Sequence[OwnModel]) -> ComparedModel:
    X, held_out = data.X, data.held_out
    pooled = _Model(contract, own[0].C, X, y, data.train(range(contract.division.parts)))
    scores = np.asarray(sum(_scores(model, values) for model, values in zip(own, data.sides, strict=True)))
    shared = np.concatenate([np.array(model.standardised) for model in own])
    return ComparedModel(
        C=own[0].C,
        positive=own[0].positive,
        secure=float(roc_auc_score(y[held_out], scores[held_out])),
        pooled=pooled.auc(X, y, held_out),
        coefficient_difference=float(np.abs(shared - pooled.coefficients).max()),
        disclosed=own[0].figures,
        pooled_figures=pooled.figures(X, y, held_out),
    )


def _scores(model: OwnModel, values: Values) -> Values:
    """A side's part of the linear scores. Shapes: values (rows, columns) -> (rows,)."""
    return np.asarray(values @ np.array(model.original.coefficients) + model.original.offset)


class _Model:
    """scikit-learn on standardised training rows, with a C of the contract."""

    def __init__(
        self, contract: Contract, C: str, values: Values, y: NDArray[np.int64], train: NDArray[np.int64]
    ) -> None:
        self._contract = contract
        self._scaler = StandardScaler().fit(values[train])
        self._model = LogisticRegression(
            C=float(C), fit_intercept=contract.model.fit_intercept, tol=1e-8, max_iter=10_000
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
            **self._tables(values, y, held_out),
        )

    def _tables(self, values: Values, y: NDArray[np.int64], held_out: NDArray[np.int64]) -> dict[str, Points]:
        """Exact counts, where the contract has some told in steps."""
        scores = self._model.decision_function(self._scaler.transform(values[held_out]))
        return {
            curve: exact_points(curve, [scores[y[held_out] == label].tolist() for label in (1, 0)])
            for curve in CURVES
            if self._contract.discloses(curve)
        }

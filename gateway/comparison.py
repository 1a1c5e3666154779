"""What only somebody with all files can compute: the secure model beside scikit-learn's on the pooled table.

No party of a real session could; the sandbox may, because it was given every file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

from parties.contract import Contract, Party
from parties.job import Outcome, OwnModel
from parties.messages import Figures
from parties.preparation import split
from parties.sources import read_csv
from parties.tables import Table, features, labels

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
    """The joint table, and whose part of it is where; hidden in print."""

    values: Values = field(repr=False)  # (rows, columns)
    labels: NDArray[np.int64] = field(repr=False)  # classes by number
    training: NDArray[np.int64] = field(repr=False)
    held_out: NDArray[np.int64] = field(repr=False)
    parts: dict[str, tuple[Values, NDArray[np.int64]]] = field(repr=False)  # values and training rows of each party


def compare(contract: Contract, files: Mapping[str, Path], outcomes: Mapping[str, Outcome]) -> Comparison:
    """Score the held-out rows by the secure models, pooled ones, and each party's part alone, with labels."""
    tables = {party.name: read_csv(files[party.name], party.id_column) for party in contract.parties}
    table = (_by_rows if contract.partition == "rows" else _by_columns)(contract, tables)
    named = {name: index for index, name in enumerate(contract.label.told_apart)}
    one_of_two, models = len(named) == 1, []
    alone: dict[str, list[float]] = {name: [] for name in table.parts}
    for place, told in enumerate(next(iter(outcomes.values())).models):
        y = (table.labels == (1 if one_of_two else named[told.positive])).astype(np.int64)
        own = {name: outcome.models[place] for name, outcome in outcomes.items()}
        models.append(_compared(contract, table, y, own))
        for name, (values, rows) in table.parts.items():
            model = _Model(contract, told.C, values, y, rows)
            alone[name].append(model.auc(values, y, table.held_out))
    aucs = {name: fmean(each) for name, each in alone.items()}
    return Comparison(len(table.training), len(table.held_out), tuple(models), aucs)


def _by_columns(contract: Contract, tables: Mapping[str, Table]) -> _Pooled:
    """The parties' columns side by side."""
    owner = tables[contract.label.holder]
    training, held_out = split(owner.ids, contract.split_key, contract.split.held_out)
    columns = {party.name: features(tables[party.name], party.columns) for party in contract.parties if party.columns}
    return _Pooled(
        np.hstack(list(columns.values())),
        labels(owner, contract.label.column, contract.label.told_apart),
        np.asarray(training),
        np.asarray(held_out),
        {name: (values, np.asarray(training)) for name, values in columns.items()},
    )


def _by_rows(contract: Contract, tables: Mapping[str, Table]) -> _Pooled:
    """The parties' tables one below the other; alone, each trains on its own records."""
    names = [party.name for party in contract.parties]
    values = np.vstack([features(tables[name], contract.party(name).columns, varied=False) for name in names])
    starts = np.cumsum([0, *(tables[name].rows for name in names)])
    parts = [split(tables[name].ids, contract.split_key, contract.split.held_out) for name in names]
    own = {name: np.asarray(rows) + start for name, (rows, _), start in zip(names, parts, starts, strict=False)}
    return _Pooled(
        values,
        np.concatenate([labels(tables[name], contract.label.column, contract.label.told_apart) for name in names]),
        np.concatenate(list(own.values())),
        np.concatenate([np.asarray(rows) + start for (_, rows), start in zip(parts, starts, strict=False)]),
        {name: (values, rows) for name, rows in own.items()},
    )


def _compared(contract: Contract, table: _Pooled, y: NDArray[np.int64], own: Mapping[str, OwnModel]) -> ComparedModel:
    if contract.partition == "rows":  # every party has the whole model
        first = contract.parties[0]
        scores, coefficients = _scores(own[first.name], table.values), np.array(own[first.name].standardised)
    else:
        holders = [party for party in contract.parties if party.columns]
        scores = np.zeros(len(y)) + (own[contract.label.holder].intercept or 0.0)
        for party, values in zip(holders, np.split(table.values, _edges(holders), axis=1), strict=True):
            scores += _scores(own[party.name], values)
        coefficients = np.concatenate([np.array(own[party.name].standardised) for party in holders])
    told = next(iter(own.values()))
    pooled = _Model(contract, told.C, table.values, y, table.training)
    return ComparedModel(
        C=told.C,
        positive=told.positive,
        secure=float(roc_auc_score(y[table.held_out], scores[table.held_out])),
        pooled=pooled.auc(table.values, y, table.held_out),
        coefficient_difference=float(np.abs(coefficients - pooled.coefficients).max()),
        disclosed=told.figures,
        pooled_figures=pooled.figures(table.values, y, table.held_out),
    )


def _edges(holders: list[Party]) -> NDArray[np.int64]:
    """Where one holder's columns end and the next one's begin."""
    return np.cumsum([len(party.columns) for party in holders])[:-1]


def _scores(model: OwnModel, values: Values) -> Values:
    """A party's part of the linear scores. Shapes: values (rows, columns) -> (rows,)."""
    return np.asarray(values @ np.array(model.original.coefficients) + model.original.offset)


class _Model:
    """scikit-learn on standardised training rows, with a C of the contract."""

    def __init__(
        self, contract: Contract, C: str, values: Values, y: NDArray[np.int64], train: NDArray[np.int64]
    ) -> None:
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
        )

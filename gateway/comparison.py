"""What only somebody with all files can compute: the secure model beside scikit-learn's on the pooled table.

No party of a real session could; the sandbox may, because it was given every file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

from mpc.curves import CURVES, Points, exact_points
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


def compare(contract: Contract, files: Mapping[str, Path], outcomes: Mapping[str, Outcome]) -> Comparison:
    """Score the held-out rows by the secure model, the pooled one, and each party's part alone, with labels."""
    tables = {party.name: read_csv(files[party.name], party.id_column) for party in contract.parties}
    if contract.partition == "rows":
        return _compare_by_rows(contract, tables, outcomes)
    owner = contract.label.holder
    y = labels(tables[owner], contract.label.column, contract.label.positive)
    train, held_out = split(tables[owner].ids, contract.split_key, contract.split.held_out)
    columns = {party.name: features(tables[party.name], party.columns) for party in contract.parties if party.columns}
    pooled = _Model(contract, np.hstack(list(columns.values())), y, train)
    intercept = outcomes[owner].intercept or 0.0
    secure = sum(_scores(outcomes[name], values) for name, values in columns.items())
    shared = np.concatenate([np.array(outcomes[name].standardised) for name in columns])
    return Comparison(
        training_rows=len(train),
        held_out_rows=len(held_out),
        secure=float(roc_auc_score(y[held_out], np.asarray(secure)[held_out] + intercept)),
        pooled=pooled.auc(np.hstack(list(columns.values())), y, held_out),
        alone={name: _Model(contract, values, y, train).auc(values, y, held_out) for name, values in columns.items()},
        coefficient_difference=float(np.abs(shared - pooled.coefficients).max()),
        disclosed=outcomes[owner].figures,
        pooled_figures=pooled.figures(np.hstack(list(columns.values())), y, held_out),
    )


def _compare_by_rows(contract: Contract, tables: Mapping[str, Table], outcomes: Mapping[str, Outcome]) -> Comparison:
    """The pooled table is the parties' one below the other; alone, each trains on its own records."""
    names = [party.name for party in contract.parties]
    values = [features(tables[name], contract.party(name).columns, varied=False) for name in names]
    y = np.concatenate([labels(tables[name], contract.label.column, contract.label.positive) for name in names])
    starts = np.cumsum([0, *(len(each) for each in values)])
    parts = [split(tables[name].ids, contract.split_key, contract.split.held_out) for name in names]
    trains = {name: rows + start for name, (rows, _), start in zip(names, parts, starts, strict=False)}
    held_out = np.concatenate([rows + start for (_, rows), start in zip(parts, starts, strict=False)])
    X, train = np.vstack(values), np.concatenate(list(trains.values()))
    pooled, outcome = _Model(contract, X, y, train), outcomes[names[0]]  # every party has the whole model
    return Comparison(
        training_rows=len(train),
        held_out_rows=len(held_out),
        secure=float(roc_auc_score(y[held_out], _scores(outcome, X)[held_out])),
        pooled=pooled.auc(X, y, held_out),
        alone={name: _Model(contract, X, y, rows).auc(X, y, held_out) for name, rows in trains.items()},
        coefficient_difference=float(np.abs(np.array(outcome.standardised) - pooled.coefficients).max()),
        disclosed=outcome.figures,
        pooled_figures=pooled.figures(X, y, held_out),
    )


def _scores(outcome: Outcome, values: Values) -> Values:
    """A party's part of the linear scores. Shapes: values (rows, columns) -> (rows,)."""
    return np.asarray(values @ np.array(outcome.original.coefficients) + outcome.original.offset)


class _Model:
    """scikit-learn on standardised training rows, with the contract's penalty."""

    def __init__(self, contract: Contract, values: Values, y: NDArray[np.int64], train: NDArray[np.int64]) -> None:
        self._contract = contract
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

"""What each owner does to its own rows before training, as the contract says: split them, standardise, clip.

All parties split and order their rows alike without talking: that depends on the record ids and the contract alone.
Means and deviations come from the training rows only; they stay with their owner, unless several parties hold rows of
a column: then they are computed jointly, and told to these.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat, PositiveFloat, model_validator

from parties.columns.encoding import constant
from parties.errors import DataError, PlanError

DECIMAL = r"^[0-9]\.?[0-9]{0,17}$"  # no exponents, whose fractions could fill the memory
DIGEST_WORDS = 4  # of 64 bits, in an HMAC-SHA256

Rows = NDArray[np.int64]
Values = NDArray[np.float64]


def split(ids: Sequence[str], key: bytes, held_out: Fraction | str) -> tuple[Rows, Rows]:
    """Indices of the training and of the held-out rows, both in the order of HMAC-SHA256(key, id in UTF-8).

    The first floor(held_out * rows) of that order are held out. `held_out` is a fraction or a decimal as text, because
    0.3 as a float is not three tenths. The order of `ids` changes neither a row's side nor its place there, by which a
    cross-validation takes its folds: no rule by which ids alternate can keep step with them.
    Raises: PlanError if it is not a number from 0 up to but not including 1.
    """
    first = _held_out_rows(held_out, len(ids))
    digests = b"".join(hmac.digest(key, record.encode(), "sha256") for record in ids)
    words = np.frombuffer(digests, dtype=">u8").reshape(-1, DIGEST_WORDS).astype(np.uint64)
    order = np.lexsort(words.T[::-1])  # lexsort's last key is the first to count
    return order[first:].astype(np.int64), order[:first].astype(np.int64)


def _held_out_rows(held_out: Fraction | str, rows: int) -> int:
    is_fraction = isinstance(held_out, Fraction) or re.fullmatch(DECIMAL, held_out)
    if not is_fraction or not 0 <= Fraction(held_out) < 1:
        raise PlanError(f"the held-out fraction '{held_out}' is not from 0 to 1", action="write one such as 0.25")
    return int(Fraction(held_out) * rows)


class OriginalUnits(BaseModel):
    """One party's part of the linear score: sum of value * coefficient, plus its own centring offset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]
    coefficients: tuple[float, ...]
    offset: float


class Standardiser(BaseModel):
    """Means and population deviations as of scikit-learn's StandardScaler, and a bound on what comes out.

    JSON keeps every bit of them, so that a model scores later as it was trained.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]
    mean: tuple[FiniteFloat, ...]
    deviation: tuple[PositiveFloat | None, ...]  # None: the same in every training row, and so a column of zeros
    clip: PositiveFloat  # in standardised units; the plan's bound

    @model_validator(mode="after")
    def _same_length(self) -> Standardiser:
        if not len(self.names) == len(self.mean) == len(self.deviation):
            raise ValueError("names, means and deviations differ in number")
        return self

    @classmethod
    def fit(
        cls, values: Values, names: Sequence[str], clip: float, may_be_constant: Sequence[bool] = ()
    ) -> Standardiser:
        """Shapes: values (training rows, columns).

        Raises: DataError for a column that is constant in the training rows, up to rounding, and may not be.
        """
        if not len(values):
            raise DataError("there are no training rows", action="hold out fewer rows, or bring more")
        mean = values.mean(axis=0)
        variance = np.square(values - mean).mean(axis=0)
        # What rounding alone can make of a constant column; smaller is no information.
        rounding = len(values) * np.finfo(np.float64).eps
        variance[variance <= rounding * variance + np.square(rounding * mean)] = 0
        return cls.joint(names, mean, np.sqrt(variance), clip, may_be_constant)

    @classmethod
    def joint(
        cls, names: Sequence[str], mean: Values, deviation: Values, clip: float, may_be_constant: Sequence[bool] = ()
    ) -> Standardiser:
        """Of moments that were computed elsewhere. Raises: DataError for a constant column that may not be one."""
        for name, found, may in zip(names, deviation, may_be_constant or [False] * len(names), strict=True):
            if not (found or may):
                raise constant(name, "training row")
        deviations = (found or None for found in deviation.tolist())
        return cls(names=tuple(names), mean=tuple(mean.tolist()), deviation=tuple(deviations), clip=clip)

    @property
    def used(self) -> NDArray[np.bool_]:
        """Which columns vary, and so may have a weight. Shapes: -> (columns,)."""
        return np.array([deviation is not None for deviation in self.deviation], dtype=np.bool_)

    @property
    def used_names(self) -> tuple[str, ...]:
        return tuple(name for name, used in zip(self.names, self.used, strict=True) if used)

    @property
    def _divisors(self) -> Values:
        return np.array([np.inf if deviation is None else deviation for deviation in self.deviation], dtype=np.float64)

    def apply(self, values: Values) -> Values:
        """Standardise and clip to [-clip, clip]. Shapes: values (rows, columns) -> the same."""
        standardised: Values = (values - np.array(self.mean)) / self._divisors
        return np.clip(standardised, -self.clip, self.clip)

    def to_original(self, coefficients: Sequence[float] | Values) -> OriginalUnits:
        """Coefficients of the used columns, in their own units, and an offset, the sum of -w * mean / deviation.

        value . coefficients + offset is this party's part of the score wherever `apply` does not clip; the
        label's owner adds the intercept.
        Raises: DataError if there are not as many coefficients as columns.
        """
        if len(coefficients) != len(self.names):
            raise DataError(f"{len(coefficients)} coefficients came for {len(self.names)} columns")
        scaled = np.asarray(coefficients, dtype=np.float64) / self._divisors
        return OriginalUnits(
            names=self.used_names,
            coefficients=tuple(scaled[self.used].tolist()),
            offset=float(-np.dot(scaled, np.array(self.mean))),
        )

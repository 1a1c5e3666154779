"""The program of a prediction: a model that lies in shares, new rows of the parties' columns, one party who is told.

Like a training's it is derived from a few facts by integers and decimals alone, at each node and at the dealer.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from mpc.design import Design, Opening
from mpc.errors import ProgramError
from mpc.fused_program import Rung
from mpc.matching_program import Matching
from mpc.partition import LabelRows, Partition, Rank, check_blocks
from mpc.program import Program
from mpc.scales import SCORE_BITS
from mpc.specification import LIMITS, MAX_CELLS, MOST_CLASSES

PERIOD, HARMONICS = 64, 20  # of the sigmoid
SCORE_BOUND = 16  # scores beyond it are clamped: their probabilities are 0 or 1 in DIGITS anyway
DIGITS = 14  # fractional bits of a disclosed probability
SPARE_BITS = 2  # of the ring above scores: for a sign, and for what a comparison subtracts
CLIP_BITS = next((least, most) for name, least, most in LIMITS if name == "clip_bits")


class PredictionSpec(Partition):
    """What a prediction's program is derived from: new rows, divided among the parties as blocks."""

    labels: tuple[LabelRows, ...] = ()
    parties: Annotated[int, Field(ge=2, le=64)]  # also those without a block
    fit_intercept: bool
    clip_bits: int
    recipient: Rank
    classes: int = 1  # that the model has weights for


class Prediction(Design):
    """Probabilities of new rows, for one party (mpc/PREDICTION.md)."""

    engine: Literal["prediction"] = "prediction"
    parties: int  # also those without a column, who hold shares of the model all the same
    recipient: Rank
    clip_bits: int
    bound: int  # scores beyond it become it
    rung: Rung
    unit_bits: int  # what a probability of 1 is before rounding, as a power of two
    digits: int  # fractional bits that rounding leaves
    strip_rows: int  # rows whose tables are dealt at once, and which one disclosure tells of

    @property
    def world(self) -> int:
        return self.parties

    @property
    def shift(self) -> int:
        """Bits that rounding takes off."""
        return self.unit_bits - self.digits

    @property
    def strips(self) -> tuple[slice, ...]:
        """The rows, strip by strip; the last one may have fewer."""
        starts = range(0, self.rows, self.strip_rows)
        return tuple(slice(start, min(start + self.strip_rows, self.rows)) for start in starts)

    @property
    def disclosed(self) -> Opening:
        """The one thing that is opened, strip by strip."""
        return Opening(
            name="probabilities",
            recipients=(self.recipient,),
            count=len(self.strips),
            values=self.strip_rows * self.classes,
        )

    def disclosures(self) -> tuple[Opening, ...]:
        """Every opening that this program makes; anything else is refused."""
        return (self.disclosed,)


Computed: TypeAlias = Program | Prediction  # what the engine runs
Runnable: TypeAlias = Computed | Matching  # what parties run, and a dealer serves


def derive_prediction(spec: PredictionSpec) -> Prediction:
    """The program that follows from these facts. Raises: ProgramError for what can't be computed."""
    from mpc.derivation import RING_BITS, UNIT_BITS, WEIGHT_BITS, log2, rung, strip_rows

    _check(spec)
    found = Prediction(
        rows=spec.rows,
        blocks=spec.blocks,
        labels=(),
        fit_intercept=spec.fit_intercept,
        classes=spec.classes,
        parties=spec.parties,
        recipient=spec.recipient,
        clip_bits=spec.clip_bits,
        bound=SCORE_BOUND,
        rung=rung(PERIOD, HARMONICS),
        unit_bits=UNIT_BITS,
        digits=DIGITS,
        strip_rows=strip_rows(spec.rows, spec.classes),
    )
    check_blocks(found)
    largest = log2(found.width) + spec.clip_bits + max(WEIGHT_BITS) + SCORE_BITS
    if largest > RING_BITS - SPARE_BITS:
        raise ProgramError(f"scores of {found.width} columns may leave the ring", action="use fewer columns")
    return found


def _check(spec: PredictionSpec) -> None:
    columns = spec.columns
    if spec.rows < 1 or columns < 1:
        raise ProgramError("a prediction needs a row and a feature column at least")
    if spec.rows * (columns + 1) > MAX_CELLS:
        raise ProgramError(
            f"{spec.rows} rows x {columns} columns are more than {MAX_CELLS} cells", action="predict fewer rows at once"
        )
    if not CLIP_BITS[0] <= spec.clip_bits <= CLIP_BITS[1]:
        raise ProgramError(f"clip_bits={spec.clip_bits} lies outside {CLIP_BITS[0]} to {CLIP_BITS[1]}")
    if spec.classes == 2 or not 1 <= spec.classes <= MOST_CLASSES:
        raise ProgramError(f"a model of {spec.classes} classes")
    if max(spec.recipient, spec.world - 1) >= spec.parties:
        raise ProgramError(f"the recipient, or the owner of a block, is none of the {spec.parties} parties")

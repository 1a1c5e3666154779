"""A prediction's correlations, each defined once for the parties' side and the dealer's (see mpc.layouts).

It has two parts, because a party takes all tuples of a part before it asks for those of CrypTen's comparisons: the
model, whose scores are then clamped; the strips of rows, whose probabilities are told one after the other.
"""

from __future__ import annotations

from mpc.layouts import Arrays, Kind, Layout, tables_layout, turn_tables
from mpc.prediction_program import Prediction
from mpc.ring import WORD_BITS, Words, product, shifted


def parts(program: Prediction) -> tuple[tuple[Kind, ...], ...]:
    """Kinds of both parts, in order. A part's number is that of its phase."""
    probabilities: list[Kind] = ["probabilities"] * len(program.strips)
    return ("model",), tuple(probabilities)


def layout(program: Prediction, kind: Kind) -> Layout:
    if kind == "model":
        return Layout({"mask": (program.width, program.classes)}, {"table_mask": (program.rows, program.classes)})
    scores = program.strip_rows, program.classes
    return tables_layout(program.rung, scores).with_(Layout({"mask": scores}, {"low": scores, "top": scores}))


def values(program: Prediction, kind: Kind, masks: Arrays, table: Words) -> Arrays:
    """A tuple's values from the sums of its parts; `table` is the mask A of the rows. The dealer alone does this."""
    if kind == "model":
        return {"table_mask": product(table, masks["mask"])}
    rounding = {"low": shifted(masks["mask"], program.shift), "top": shifted(masks["mask"], WORD_BITS - 1)}
    return turn_tables(masks["turn"], program.rung) | rounding

"""The fused engine's correlations, each defined once for the parties' side and the dealer's.

A phase is one pass through a segment of the program; its items stand in a fixed order, and each is one tuple with a
number that no other has. Every party expands all parts and values of a tuple from its own stream of that number; the
corrected party receives the values from the dealer instead. Kinds, sizes and order follow from the program and from the
rung of the range ladder, which the parties announce between phases; nothing else that happens online shows here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import numpy as np

from mpc.errors import EngineError
from mpc.program import TABLE_BITS, Fused, MiniBatch, Newton, Rung, Segment
from mpc.randomness import Stream
from mpc.ring import WORD_BITS, Words, dot, product, shifted, top32
from mpc.symmetric import packed_size, unpacked

Kind = Literal[
    "labels",
    "slot",
    "lot",
    "report",
    "checkpoint",
    "gram",
    "density",
    "information",
    "step",
    "product",
    "inverse",
    "advance",
]
Shape = tuple[int, ...]
Arrays = dict[str, Words]
PHASE_SHIFT = 32  # a tuple's number is its phase, then its place in it


@dataclass(frozen=True)
class Layout:
    """Names and shapes of what a tuple consists of."""

    parts: Mapping[str, Shape]  # random: each party's own
    values: Mapping[str, Shape]  # functions of the parts' sums: corrected at one party

    @property
    def words(self) -> int:
        """Words that the dealer sends for one tuple."""
        return sum(map(prod, self.values.values()))

    def expand(self, stream: Stream) -> tuple[Arrays, Words]:
        """One party's parts, and its shares of all values in a row."""
        return {name: stream.words(shape) for name, shape in self.parts.items()}, stream.words((self.words,))

    def split(self, values: Words) -> Arrays:
        """The values in a row, by name."""
        found, start = {}, 0
        for name, shape in self.values.items():
            found[name] = values[start : start + prod(shape)].reshape(shape)
            start += prod(shape)
        return found

    def join(self, values: Arrays) -> Words:
        return np.concatenate([values[name].reshape(-1) for name in self.values])


def items(program: Fused, segment: Segment) -> tuple[Kind, ...]:
    """What a phase consists of, in order.

    The loss of an iteration is reported as many slots later as there are spare ones: by then it is there however many
    openings were rejected, and no report tells of one.
    """
    if isinstance(program, MiniBatch):
        lots: list[Kind] = ["lot"] * (segment.slots // program.lot)
        return (*lots, "checkpoint")
    found: list[Kind] = []  # what a refresh consists of stands between a slot's gradient and its step
    for slot in range(1, segment.slots + 1):
        found.append("slot")
        if isinstance(program, Newton):
            if program.refreshes(slot):
                found += ("density", *_inversion(program, program.refresh_steps))
            found.append("advance")
        iteration = slot - segment.spares
        if program.loss_every and iteration > 0 and iteration % program.loss_every == 0:
            found.append("report")
    return (*found, "checkpoint")


def opening_items(program: Fused) -> tuple[Kind, ...]:
    """What precedes the first phase."""
    found: list[Kind] = ["labels"] if program.loss_every else []
    if isinstance(program, Newton):
        found += ("gram", *_inversion(program, program.first_steps))
    return tuple(found)


def _inversion(program: Newton, steps: int) -> tuple[Kind, ...]:
    """A step opens the inverse truncated; where the bits are too short for that, it is rounded and opened whole."""
    step: tuple[Kind, ...] = ("inverse", "product") if program.rounded_steps else ("step",)
    return ("information", *step * steps, "inverse")


USES: Mapping[Kind, tuple[Kind, ...]] = {
    "step": ("information",),
    "product": ("information", "inverse"),
    "advance": ("inverse",),
}


def used(program: Fused, kinds: Sequence[Kind], number: int) -> tuple[int, ...]:
    """The tuples on whose matrix masks this one builds: the last of each kind before, if need be those of the start."""
    here = place(number)
    return tuple(_last(program, kinds[:here], number - here, wanted) for wanted in USES.get(kinds[here], ()))


def _last(program: Fused, kinds: Sequence[Kind], phase: int, wanted: Kind) -> int:
    for start, earlier in ((phase, kinds), (0, opening_items(program))):
        if wanted in earlier:
            return start + len(earlier) - 1 - earlier[::-1].index(wanted)
    raise EngineError(f"a program needs '{wanted}' before there is any")


def tuple_number(phase: int, place: int) -> int:
    return (phase << PHASE_SHIFT) + place


def place(number: int) -> int:
    """Of a tuple in its phase."""
    return number & ((1 << PHASE_SHIFT) - 1)


def rows_of(program: MiniBatch, number: int, slot: int) -> slice | Words:
    """The rows that a slot of a lot works on: a view's where they don't go round at the table's end."""
    start = program.batch_start(number >> PHASE_SHIFT, place(number) * program.lot + slot)
    if start + program.batch_rows <= program.rows:
        return slice(start, start + program.batch_rows)
    return np.arange(start, start + program.batch_rows, dtype=np.int64) % program.rows


def corrected(number: int, world: int) -> int:
    """The rank that receives a tuple's correction; the role rotates."""
    return ((number >> PHASE_SHIFT) + number) % world


def layout(program: Fused, rung: Rung, kind: Kind) -> Layout:
    m, d, copies = program.rows, program.width, program.copies
    if kind == "labels":
        return Layout({}, {"table_labels": (d,)})
    if kind == "report":
        return Layout({"mask": (copies, 1)}, {"low": (copies, 1)})
    if kind == "checkpoint":
        return Layout({"mask": (copies, d)}, {"low": (copies, d), "table_low": (copies, m)})
    if kind in MATRIX_KINDS:
        return _matrix_layout(kind, m, d)
    many: Shape = (program.lot,) if isinstance(program, MiniBatch) else ()
    each = (*many, program.gradient_rows)
    values = {
        "low": (*many, d),
        "table_low": each,
        "cosines": (rung.harmonics, *each),
        "sines": (rung.harmonics, *each),
        "noise_low": each,
        "table_noise": (*many, d),
    }
    if program.loss_every:
        values["labels_low"] = (1,)
    return Layout({"mask": (*many, d), "turn": each, "noise": each}, values)


def unstacked(program: MiniBatch, parts: Arrays, values: Arrays) -> list[tuple[Arrays, Arrays]]:
    """The slots of a lot, each as a tuple of its own."""
    return [
        (
            {name: part[slot] for name, part in parts.items()},
            {name: value[:, slot] if value.ndim == 3 else value[slot] for name, value in values.items()},
        )
        for slot in range(program.lot)
    ]


MATRIX_KINDS: tuple[Kind, ...] = ("gram", "density", "information", "step", "product", "inverse", "advance")


def _matrix_layout(kind: Kind, m: int, d: int) -> Layout:
    square, half = (d, d), (packed_size(d),)
    products = {"low": square, "information_inverse": square, "inverse_product": square}
    layouts = {
        "gram": Layout({}, {"table_table": square}),
        "density": Layout({"mask": (m,), "scaled": (m, d)}, {"low": (m,), "low_table": (m, d), "table_scaled": square}),
        "information": Layout({"mask": half}, {"low": half, "top": half}),
        "inverse": Layout({"mask": half}, {"low": half, "top": half}),
        "step": Layout({"inverse": half, "product": square}, {"inverse_low": half, **products}),
        "product": Layout({"product": square}, products),
        "advance": Layout({"mask": (d,)}, {"low": (d,), "inverse_gradient": (d,)}),
    }
    return layouts[kind]


@dataclass(frozen=True)
class Masks:
    """What the dealer holds for a whole session. Redacted in print."""

    table: Words = field(repr=False)  # A, (rows, width)
    labels: Words = field(repr=False)  # A_y, (rows,)
    totals: Words = field(repr=False)  # b_P, the mask of X^T y, (width,)


def values(
    program: Fused,
    rung: Rung,
    kind: Kind,
    parts: Arrays,
    masks: Masks,
    used: Sequence[Words] = (),
    number: int = 0,
) -> Arrays:
    """A tuple's values from the sums of its parts and of the matrix masks that it uses. The dealer alone does this."""
    if isinstance(program, Newton) and kind in MATRIX_KINDS:
        return _matrix_values(program, kind, parts, masks.table, [unpacked(mask) for mask in used])
    if kind == "labels":
        found = product(masks.table.T, masks.labels)
        found[program.own(program.label_owner)] = 0  # the labels' owner needs no help with its own columns
        return {"table_labels": found}
    if kind == "report":
        return {"low": shifted(parts["mask"], program.loss_shift)}
    low = shifted(parts["mask"], program.state_shift)
    if kind == "checkpoint":
        return {"low": low, "table_low": np.stack([product(masks.table, each) for each in low])}
    noise_low = shifted(parts["noise"], program.residual_shift)
    cosines, sines = _turn_tables(parts["turn"], rung)
    if isinstance(program, MiniBatch):
        batches = [masks.table[rows_of(program, number, slot)] for slot in range(program.lot)]
        products = [product(A, each) for A, each in zip(batches, low, strict=True)]
        transposed = [product(A.T, each) for A, each in zip(batches, noise_low, strict=True)]
        return {
            "low": low,
            "table_low": np.stack(products),
            "cosines": cosines,
            "sines": sines,
            "noise_low": noise_low,
            "table_noise": np.stack(transposed),
        }
    found_values = {
        "low": low,
        "table_low": product(masks.table, low),
        "cosines": cosines,
        "sines": sines,
        "noise_low": noise_low,
        "table_noise": product(masks.table.T, noise_low),
    }
    if program.loss_every:
        found_values["labels_low"] = dot(masks.totals, low)
    return found_values


def _matrix_values(program: Newton, kind: Kind, parts: Arrays, table: Words, used: Sequence[Words]) -> Arrays:
    if kind == "gram":
        return {"table_table": _across_owners(program, product(np.ascontiguousarray(table.T), table))}
    if kind == "density":
        low = shifted(parts["mask"], program.density_shift)
        scaled = product(np.ascontiguousarray(table.T), parts["scaled"])
        return {"low": low, "low_table": low[:, None] * table, "table_scaled": scaled}
    if kind == "step":
        low = shifted(parts["inverse"], program.inverse_shift)
        return {"inverse_low": low} | _products(program, used[0], -unpacked(low), parts["product"])
    if kind == "product":
        return _products(program, used[0], used[1], parts["product"])
    if kind == "advance":
        low = shifted(parts["mask"], program.gradient_shift)
        return {"low": low, "inverse_gradient": -product(used[0], low)}
    shift = program.information_shift if kind == "information" else program.inverse_shift
    return {"low": shifted(parts["mask"], shift), "top": shifted(parts["mask"], WORD_BITS - 1)}


def _products(program: Newton, information: Words, inverse: Words, mask: Words) -> Arrays:
    """Products of what hides H, V and H V. H is opened already, and V with `inverse` as the rest that hides it."""
    low = shifted(mask, program.product_shift)
    return {
        "low": low,
        "information_inverse": product(information, inverse),
        "inverse_product": -product(inverse, low),
    }


def _across_owners(program: Fused, matrix: Words) -> Words:
    """Zero between the columns of one owner, who needs no help there."""
    for rank in range(program.world):
        matrix[np.ix_(program.own(rank), program.own(rank))] = 0
    return matrix


def _turn_tables(turn: Words, rung: Rung) -> tuple[Words, Words]:
    """Cosines and sines of the odd multiples of the masks' angles. Floating point does: one machine computes them."""
    fraction = top32(turn, rung.modulus_bits).view(np.uint32).astype(np.float64) + 0.5
    one = np.exp((2j * np.pi / 2.0**32) * fraction)
    double, scale = one * one, float(1 << TABLE_BITS)
    found = np.empty((rung.harmonics, *turn.shape), dtype=np.complex128)
    for row in range(rung.harmonics):
        found[row] = one
        one = one * double
    return np.rint(found.real * scale).astype(np.int64), np.rint(found.imag * scale).astype(np.int64)

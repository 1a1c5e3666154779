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
from mpc.fused_program import Fused, MiniBatch, Newton, Rung, Segment
from mpc.partition import within
from mpc.randomness import Stream
from mpc.ring import WORD_BITS, Words, product, shifted, top32
from mpc.scales import TABLE_BITS
from mpc.symmetric import packed_size, unpacked
from mpc.validation import spread, total_columns, totals

Kind = Literal[
    "labels",
    "slot",
    "tables",
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
    "held-out",
    "bins",
    "figures",
    "model",
    "probabilities",
]
Shape = tuple[int, ...]
Arrays = dict[str, Words]
PHASE_SHIFT = 32  # a tuple's number is its phase, then its place in it


@dataclass(frozen=True)
class Layout:
    """Names and shapes of what a tuple consists of."""

    parts: Mapping[str, Shape]  # random: each party's own
    values: Mapping[str, Shape]  # functions of the parts' sums: corrected at one party

    def with_(self, other: Layout) -> Layout:
        """Both in one tuple."""
        return Layout({**self.parts, **other.parts}, {**self.values, **other.values})

    @property
    def words(self) -> int:
        """Words that the dealer sends for one tuple."""
        return sum(map(prod, self.values.values()))

    def expand_parts(self, stream: Stream) -> Arrays:
        """One party's parts: they come first in a stream."""
        return {name: stream.words(shape) for name, shape in self.parts.items()}

    def expand_values(self, stream: Stream) -> Words:
        """A party's shares of all values in a row: they follow the parts."""
        return stream.words((self.words,))

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
        if not program.loss_every:
            return (*lots, "checkpoint")
        whole: list[Kind] = ["tables"] * program.strips
        return (*lots, "checkpoint", *whole, "report")
    found: list[Kind] = []  # what a refresh consists of stands between a slot's gradient and its step
    strip_tables: list[Kind] = ["tables"] * program.strips
    densities: list[Kind] = ["density"] * program.strips
    for slot in range(1, segment.slots + 1):
        found += ["slot", *strip_tables]
        if isinstance(program, Newton):
            if program.refreshes(slot):
                found += [*densities, *_inversion(program, program.refresh_steps)]
            found.append("advance")
        iteration = slot - segment.spares
        if program.loss_every and iteration > 0 and iteration % program.loss_every == 0:
            found.append("report")
    return (*found, "checkpoint")


def tells_loss(program: Fused) -> bool:
    """Whether the loss is that of a checkpoint's weights: a mini-batch's slots see too few rows."""
    return isinstance(program, MiniBatch) and program.loss_every > 0


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
    """The rank that receives a tuple's correction.

    The role rotates, a step further with each turn, lest kinds that take turns go to the same parties.
    """
    here = place(number)
    return ((number >> PHASE_SHIFT) + here + here // world) % world


def layout(program: Fused, rung: Rung, kind: Kind) -> Layout:
    m, copies, models, weights = program.rows, program.copies, len(program.models), (program.width, len(program.models))
    if kind == "labels":
        return Layout({}, {"table_labels": (program.width, len(totals(program)))})
    if kind == "report":
        losses = (copies, program.reported)
        return Layout({"mask": losses}, {"low": losses})
    if kind == "checkpoint":
        opened = (copies, *weights)
        found = Layout({"mask": opened}, {"low": opened, "table_low": (copies, m, models)})
        return found.with_(Layout({}, {"labels_low": (copies, models)})) if tells_loss(program) else found
    if kind == "tables":
        return tables_layout(rung, (program.strip_rows, models))
    if kind in MATRIX_KINDS:
        return _matrix_layout(kind, program.strip_rows, program.width, models)
    many: Shape = (program.lot,) if isinstance(program, MiniBatch) else ()
    each, step = (*many, program.gradient_rows, models), (*many, *weights)
    values: dict[str, Shape] = {"low": step, "table_low": each, "noise_low": each, "table_noise": step}
    if program.loss_every and not isinstance(program, MiniBatch):
        values["labels_low"] = (models,)
    found = Layout({"mask": step, "noise": each}, values)
    return found if kind == "slot" else found.with_(tables_layout(rung, each))


def tables_layout(rung: Rung, scores: Shape) -> Layout:
    """Masks of scores' angles, and what the period opening's functions are linear in.

    Shapes: scores (rows, models) or (lot, rows, models); a table has a row of them for each harmonic, after the lot's.
    """
    tables = (*scores[:-2], rung.harmonics, *scores[-2:])
    return Layout({"turn": scores}, {"cosines": tables, "sines": tables})


def unstacked(program: MiniBatch, parts: Arrays, values: Arrays) -> list[tuple[Arrays, Arrays]]:
    """The slots of a lot, each as a tuple of its own."""
    return [
        (
            {name: part[slot] for name, part in parts.items()},
            {name: value[slot] for name, value in values.items()},
        )
        for slot in range(program.lot)
    ]


MATRIX_KINDS: tuple[Kind, ...] = ("gram", "density", "information", "step", "product", "inverse", "advance")


def _matrix_layout(kind: Kind, m: int, d: int, models: int) -> Layout:
    """Each model has its matrices; of rows, those of one model after the other's stand side by side."""
    square, half = (models, d, d), (models, packed_size(d))
    products = {"low": square, "information_inverse": square, "inverse_product": square}
    density, rows, step = (m, models), (m, models * d), (d, models)
    layouts = {
        "gram": Layout({}, {"table_table": (d, d)}),
        "density": Layout(
            {"mask": density, "scaled": rows}, {"low": density, "low_table": rows, "table_scaled": (d, models * d)}
        ),
        "information": Layout({"mask": half}, {"low": half, "top": half}),
        "inverse": Layout({"mask": half}, {"low": half, "top": half}),
        "step": Layout({"inverse": half, "product": square}, {"inverse_low": half, **products}),
        "product": Layout({"product": square}, products),
        "advance": Layout({"mask": step}, {"low": step, "inverse_gradient": (models, d, 1)}),
    }
    return layouts[kind]


@dataclass(frozen=True)
class Masks:
    """What the dealer holds for a whole session. Redacted in print."""

    table: Words = field(repr=False)  # A, (rows, width)
    labels: Words = field(repr=False)  # A_y, (rows, classes)
    totals: Words = field(repr=False)  # b_P, the mask of X^T Y, (width, totals)
    table_labels: Words = field(repr=False)  # what is shared of A^T A_y, (width, totals)


def values(
    program: Fused,
    rung: Rung,
    kind: Kind,
    parts: Arrays,
    masks: Masks,
    used: Sequence[Words] = (),
    number: int = 0,
    strip: int = 0,
) -> Arrays:
    """A tuple's values from the sums of its parts and of the matrix masks that it uses. The dealer alone does this."""
    if kind == "tables":
        return turn_tables(parts["turn"], rung)
    if isinstance(program, Newton) and kind in MATRIX_KINDS:
        return _matrix_values(program, kind, parts, masks.table, [unpacked(mask) for mask in used], strip)
    if kind in {"slot", "lot"}:
        return _slot_values(program, rung, number, parts, masks)
    if kind == "labels":
        return {"table_labels": masks.table_labels}
    if kind == "report":
        return {"low": shifted(parts["mask"], program.loss_shift)}
    low = shifted(parts["mask"], program.state_shift)
    checked = {"low": low, "table_low": np.stack([product(masks.table, each) for each in low])}
    if tells_loss(program):
        checked["labels_low"] = np.stack([_label_scores(program, masks, each) for each in low])
    return checked


def _slot_values(program: Fused, rung: Rung, number: int, parts: Arrays, masks: Masks) -> Arrays:
    low, noise_low = shifted(parts["mask"], program.state_shift), shifted(parts["noise"], program.residual_shift)
    if isinstance(program, MiniBatch):
        return _lot_values(program, number, low, noise_low, masks) | turn_tables(parts["turn"], rung)
    found = {
        "low": low,
        "table_low": product(masks.table, low),
        "noise_low": noise_low,
        "table_noise": product(masks.table.T, noise_low),
    }
    if program.loss_every:
        found["labels_low"] = _label_scores(program, masks, low)
    return found


def _label_scores(program: Fused, masks: Masks, low: Words) -> Words:
    """Each model's b_P . low. Shapes: low (width, models) -> (models,)."""
    found: Words = (masks.totals[:, total_columns(program)] * low).sum(axis=0)
    return found


def _lot_values(program: MiniBatch, number: int, low: Words, noise_low: Words, masks: Masks) -> Arrays:
    batches = [masks.table[rows_of(program, number, slot)] for slot in range(program.lot)]
    return {
        "low": low,
        "table_low": np.stack([product(A, each) for A, each in zip(batches, low, strict=True)]),
        "noise_low": noise_low,
        "table_noise": np.stack([product(A.T, each) for A, each in zip(batches, noise_low, strict=True)]),
    }


def _matrix_values(
    program: Newton, kind: Kind, parts: Arrays, table: Words, used: Sequence[Words], strip: int
) -> Arrays:
    if kind == "gram":
        return {"table_table": _gram(program, table)}
    if kind == "density":
        low = shifted(parts["mask"], program.density_shift)
        rows = filled(table[program.strip(strip)], program.strip_rows)
        scaled = product(rows.T, parts["scaled"])
        return {"low": low, "low_table": beside(low, rows), "table_scaled": scaled}
    if kind == "step":
        low = shifted(parts["inverse"], program.inverse_shift)
        return {"inverse_low": low} | _products(program, used[0], -unpacked(low), parts["product"])
    if kind == "product":
        return _products(program, used[0], used[1], parts["product"])
    if kind == "advance":
        low = shifted(parts["mask"], program.gradient_shift)
        return {"low": low, "inverse_gradient": -product(used[0], low.T[:, :, None])}
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


def _gram(program: Fused, table: Words) -> Words:
    """A^T A without the products of two entries of one owner, who needs no help there."""
    found = np.zeros((program.width, program.width), dtype=np.int64)
    for rows in map(program.strip, range(program.strips)):
        found += product(table[rows].T, table[rows])
        for rank in range(program.world):
            held, own = program.held(rank), _of(program, rank, table, rows)
            found[np.ix_(held, held)] -= product(own.T, own)
    return found


def label_totals(program: Fused, table: Words, labels: Words) -> Words:
    """A^T A_y without the products of an entry and a label of one owner."""
    labels = spread(program, labels)
    found = product(table.T, labels)
    for part in program.labels:
        own = _of(program, part.owner, table, part.place)
        found[program.held(part.owner)] -= product(own.T, labels[part.place])
    return found


def _of(program: Fused, rank: int, table: Words, rows: slice) -> Words:
    """Some rows of a party's columns, zero where an entry is another's. Shapes: -> (rows, held columns)."""
    found = np.zeros_like(table[rows])
    for block in program.of(rank):
        here, columns = within(block.rows, rows), block.place[1]
        found[here, columns] = table[rows][here, columns]
    return found[:, program.held(rank)]


def beside(factors: Words, rows: Words) -> Words:
    """Each row times each of its factors, side by side. Shapes: (m, e), (m, d) -> (m, e d)."""
    return (factors[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)


def filled(rows: Words, count: int) -> Words:
    """The same with zeros after its rows, so that there are `count`."""
    if len(rows) == count:
        return rows
    return np.concatenate([rows, np.zeros((count - len(rows), *rows.shape[1:]), dtype=np.int64)])


def strip_of(kinds: Sequence[Kind], number: int) -> int:
    """Which strip of a run of items of one kind a tuple is for."""
    here = place(number)
    before = here
    while before and kinds[before - 1] == kinds[here]:
        before -= 1
    return here - before


def turn_tables(turn: Words, rung: Rung) -> Arrays:
    """Cosines and sines of the odd multiples of the masks' angles. Floating point does: one machine computes them."""
    from mpc import kernels

    fraction = top32(turn, rung.modulus_bits).view(np.uint32).astype(np.float64) + 0.5
    angle = (2 * np.pi / 2.0**32) * fraction.reshape(prod(turn.shape[:-2]), -1)
    found = kernels.mask_tables(angle, rung.harmonics, TABLE_BITS)
    cosines, sines = (each.reshape(*turn.shape[:-2], rung.harmonics, *turn.shape[-2:]) for each in found)
    return {"cosines": cosines, "sines": sines}

"""The evaluation's sizes, which follow from the held-out rows alone."""

from __future__ import annotations

from mpc.bins import FIGURE_BITS
from mpc.curves import CURVES, LEAST_CELL
from mpc.errors import ProgramError
from mpc.evaluation_program import EVERY_FIGURE, Evaluation
from mpc.partition import Partition, check
from mpc.specification import MAX_CELLS, Spec

PERIOD = 64  # scores beyond 31 either way are clamped: that sure of itself, a model is as good as certain
BINS = (4096, 2048, 1024)  # two scores of one bin are a tie for the AUC; the finer, the less noise
TABLE_WORDS = 1 << 20  # of all rows' bins, if so many will do; else the bins are the fewest
CHUNK_WORDS = 1 << 19  # of the rows' bins that are dealt at once, twice
DIGITS = 13  # fractional bits of a disclosed figure
COARSE = 1 << 7  # a quotient's first digit
FINE = (1 << DIGITS) // COARSE  # its second
LEAST_ROWS = 20  # figures of fewer rows would tell too much of one of them
MOST_ROWS = 1 << 24  # pairs of a positive and a negative, counted in units of 2**-DIGITS, then fit the ring


def evaluation(spec: Spec) -> Evaluation | None:
    """None if no figure is asked for. Raises: ProgramError for what can't be evaluated."""
    if spec.figures != tuple(figure for figure in EVERY_FIGURE if figure in spec.figures):
        raise ProgramError("figures stand twice or out of order", action=f"write them as in {', '.join(EVERY_FIGURE)}")
    if not spec.figures:
        return None
    held_out = _checked(spec)
    bins = next((each for each in BINS if each * held_out.rows <= TABLE_WORDS), BINS[-1])
    return Evaluation(
        partition=held_out,
        figures=spec.figures,
        period=PERIOD,
        bins=bins,
        chunk_rows=min(max(1, CHUNK_WORDS // (bins * spec.results)), held_out.rows),
        figure_shift=FIGURE_BITS - DIGITS + held_out.rows.bit_length() - 1,
        models=spec.results,
        smallest_cell=_cell(spec, held_out.rows),
    )


def _cell(spec: Spec, rows: int) -> int | None:
    """Rows of a table's smallest cell; none where no table is told."""
    if not set(spec.figures) & set(CURVES):
        return None
    if spec.smallest_cell < LEAST_CELL:
        raise ProgramError(
            f"a smallest cell of {spec.smallest_cell} rows", action=f"choose one of {LEAST_CELL} rows at least"
        )
    if rows < 2 * spec.smallest_cell:
        raise ProgramError(
            f"{rows} held-out rows are less than two cells of {spec.smallest_cell}: a table would tell nothing",
            action="hold out more rows, choose a smaller cell, or ask for no roc and no calibration",
        )
    return spec.smallest_cell


def _checked(spec: Spec) -> Partition:
    """The held-out rows, of the training rows' columns and owners."""
    held_out, rows = spec.held_out, 0 if spec.held_out is None else spec.held_out.rows
    if spec.engine == "reference":
        raise ProgramError("the reference engine evaluates nothing", action="ask for no figures")
    if held_out is None or not LEAST_ROWS <= rows <= MOST_ROWS:
        raise ProgramError(
            f"figures are of {LEAST_ROWS} to {MOST_ROWS} held-out rows, not of {rows}",
            action="hold out more rows, or ask for no figures",
        )
    if rows * (held_out.columns + 1) > MAX_CELLS:
        raise ProgramError(
            f"{rows} held-out rows x {held_out.columns} columns are more than {MAX_CELLS} cells",
            action="hold out fewer rows",
        )
    check(held_out)
    if [held_out.held(rank) for rank in range(spec.world)] != [spec.held(rank) for rank in range(spec.world)]:
        raise ProgramError("the held-out rows' columns have other owners than those of the training rows")
    return held_out

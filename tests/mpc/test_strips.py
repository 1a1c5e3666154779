"""Tables that are dealt and used strip by strip: the same model at declared costs, and the memory of a strip."""

from itertools import pairwise

import numpy as np
import pytest

from mpc.fused_program import Segment
from mpc.layouts import items
from tests.mpc.engine import fit, program, table
from tests.mpc.oracle import iterates, losses
from tests.mpc.test_costs import counted, quoted
from tests.mpc.test_fused import LOSS_NOISE, NOISE, loss_unit, weights


def striped(rows, strip_rows, **changes):
    """A program of several strips, as only large tables have them."""
    agreed = program([2, 0, 1], rows=rows, **{"max_iter": 12, "loss_every": 4, **changes})
    return agreed.model_copy(update={"strip_rows": strip_rows})


@pytest.mark.parametrize("strip_rows", [1, 7, 20, 39, 40])
def test_the_model_is_that_of_one_strip(strip_rows):
    """However the rows are cut, whole strips or not, iterates and losses are floating point's within rounding."""
    agreed = striped(40, strip_rows)
    X, y = table(agreed, 1)
    fits, _ = fit(agreed, X, y)
    assert np.abs(weights(agreed, fits) - iterates(agreed, X, y)[-1]).max() < NOISE
    assert np.abs(np.array(fits[0].models[0].losses) - losses(agreed, X, y)).max() < loss_unit(agreed) + LOSS_NOISE


@pytest.mark.parametrize("strip_rows", [7, 40])
def test_newton_s_optimum_is_that_of_one_strip(strip_rows):
    """A refresh adds the information matrices of strips."""
    one = program([2, 0, 1], rows=40, solver="newton", max_iter=15, loss_every=4)
    X, y = table(one, 1)
    expected, _ = fit(one, X, y)
    found, _ = fit(striped(40, strip_rows, solver="newton", max_iter=15), X, y)
    assert np.abs(weights(one, found) - weights(one, expected)).max() < NOISE
    assert (
        np.abs(np.array(found[0].models[0].losses) - np.array(expected[0].models[0].losses)).max()
        < loss_unit(one) + LOSS_NOISE
    )


@pytest.mark.parametrize("solver", ["nesterov", "newton"])
def test_a_quote_is_what_a_run_costs(solver):
    """Rounds and bytes are those quoted, the last strip's zeros included."""
    agreed = striped(40, 7, solver=solver)
    assert counted(agreed, *table(agreed, 1)) == ([0], quoted(agreed))


def test_a_slot_s_tables_follow_it():
    """A slot is followed by as many tables as there are strips, a refresh has a density for each."""
    agreed = striped(40, 7, solver="newton", max_iter=15)
    kinds = items(agreed, Segment(iterations=15, slots=16))
    assert agreed.strips == 6
    assert kinds.count("tables") == 6 * kinds.count("slot")
    first = kinds.index("density")
    assert kinds[first - 7 : first + 7] == ("slot", *["tables"] * 6, *["density"] * 6, "information")


@pytest.mark.parametrize("rows", [2, 32_768, 32_769, 100_000, 1_000_001])
def test_strips_tile_the_rows(rows):
    """Strips are of bounded size, follow each other, and the last one lacks fewer rows than there are strips."""
    agreed = program([1, 1], rows=rows, loss_every=0)
    strips = [agreed.strip(number) for number in range(agreed.strips)]
    assert strips[0].start == 0
    assert strips[-1].stop == rows
    assert all(one.stop == other.start for one, other in pairwise(strips))
    assert agreed.strip_rows <= 1 << 15
    assert 0 <= agreed.strips * agreed.strip_rows - rows < agreed.strips

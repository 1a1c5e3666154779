"""Programs: what follows from a specification fits the ring and is the same everywhere; the rest is refused.

The vectors are what `vectors()` returns. After a deliberate change of the protocol write them anew:
python -c "from tests.mpc.test_program import *; PATH.write_text(json.dumps(vectors(), indent=1) + chr(10))"
"""

import ctypes
import decimal
import hashlib
import json
import platform
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import binom

from mpc.design import Opening
from mpc.errors import ProgramError
from mpc.evaluation_program import EVERY_FIGURE, FIGURES
from mpc.evidence_program import Evidence, Weighed
from mpc.fourier import COEFFICIENT_BITS, TRIG_BITS, bound
from mpc.partition import Block, Partition, horizontal, labels_of, labels_with, vertical
from mpc.program import derive
from mpc.quantiles_program import Quantiles, Ranked
from mpc.scales import DATA_BITS, ITERATE_BITS, LOSS_BITS, MOMENTUM_BITS, SCORE_BITS, TABLE_BITS
from mpc.specification import MAX_CELLS, Spec
from tests.mpc.engine import program, some

PATH = Path(__file__).parent / "vectors" / "programs.json"
UPWARD = {"x86_64": 0x800, "aarch64": 0x400000}  # C's FE_UPWARD


def spec(rows=569, columns=(10, 10, 10), label_owner=1, **changes):
    """What a program is derived from; breast cancer's shape unless told otherwise."""
    facts = {
        "rows": rows,
        "blocks": vertical(rows, columns),
        "labels": labels_of(rows, label_owner),
        "C": "1.0",
        "fit_intercept": True,
        "solver": "nesterov",
        "max_iter": 300,
        "loss_every": 10,
        "clip_bits": 5,
    }
    return Spec(**{**facts, **changes})


MIXED = (Block(owner=2, rows=(0, 569), columns=(10, 30)),)
HELD_OUT = Partition(rows=142, blocks=vertical(142, (10, 10, 10)), labels=labels_of(142, 1))
SPECS = {
    "breast cancer": spec(),
    "two parties": spec(rows=442, columns=(4, 6), C="100", max_iter=1000),
    "no intercept, no losses": spec(fit_intercept=False, loss_every=0),
    "many rows": spec(rows=100_000, columns=(50, 0, 50), C="0.1", max_iter=50),
    "one step": spec(rows=2, columns=(1, 0), max_iter=1),
    "reference": spec(engine="reference"),
    "sgd": spec(solver="sgd", max_iter=3125, batch_rows=32, learning_rate="0.01"),
    "newton": spec(solver="newton", max_iter=None),
    "newton, many rows": spec(rows=100_000, columns=(50, 0, 50), C="0.1", solver="newton", max_iter=None),
    "by rows": spec(blocks=horizontal((200, 169, 200), 30), labels=labels_with(horizontal((200, 169, 200), 30))),
    "mixed": spec(blocks=(*horizontal((300, 269), 10), *MIXED), solver="newton", max_iter=None),
    "evaluated": spec(solver="newton", max_iter=None, held_out=HELD_OUT, figures=FIGURES),
    "tables": spec(held_out=HELD_OUT, figures=EVERY_FIGURE, smallest_cell=5),
    "weighed": spec(evidence=Evidence(columns=(Weighed(column=0, bins=5), Weighed(column=25, bins=7)))),
    "ranked": spec(
        blocks=horizontal((200, 369), 30),
        labels=labels_with(horizontal((200, 369), 30)),
        quantiles=Quantiles(columns=(Ranked(owners=(0, 1), quantiles=((1, 4), (1, 2))),)),
    ),
    "averaged": spec(
        blocks=horizontal((200, 369), 30), labels=labels_with(horizontal((200, 369), 30)), means=((0, 1), (0, 1))
    ),
    "grid": spec(C=("0.01", "1.0", "100"), held_out=HELD_OUT, figures=FIGURES),
    "newton, grid": spec(C=("0.01", "1.0", "100"), solver="newton", max_iter=None),
    "newton, wide": spec(rows=5000, columns=(128, 128), C="100", solver=None, max_iter=None, loss_every=0),
}


def digest(derived):
    """Of a program as canonical JSON."""
    text = json.dumps(derived.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def vectors():
    """Digests of programs, and the numbers of one in full but for its ladder."""
    return {
        "digests": {name: digest(derive(each)) for name, each in SPECS.items()},
        "breast cancer": derive(SPECS["breast cancer"]).model_dump(mode="json", exclude={"ladder", "blocks", "labels"}),
        "newton": derive(SPECS["newton"]).model_dump(mode="json", exclude={"ladder", "blocks", "labels"}),
    }


def test_programs_are_the_vectors():
    """What a node derives before it signs is, bit by bit, what every other machine derives."""
    assert vectors() == json.loads(PATH.read_text())


@pytest.mark.parametrize("rounding", [decimal.ROUND_UP, decimal.ROUND_DOWN, decimal.ROUND_05UP])
def test_a_caller_s_decimal_context_changes_nothing(rounding):
    """Whoever derives under another precision, rounding or set of traps gets the same program."""
    traps = [decimal.InvalidOperation, decimal.DivisionByZero]
    with decimal.localcontext(decimal.Context(prec=4, rounding=rounding, Emax=50, Emin=-50, traps=traps)):
        assert vectors() == json.loads(PATH.read_text())


@pytest.mark.skipif(platform.machine() not in UPWARD, reason="the constant of this processor's C library is not known")
def test_a_processor_s_rounding_changes_nothing():
    """No floating-point result is in a program: with the processor rounding upwards it is the same."""
    libm, one = ctypes.CDLL(None), 1.0
    libm.fesetround(UPWARD[platform.machine()])
    try:
        rounded_up, found = one + 2.0**-60 > one, vectors()
    finally:
        libm.fesetround(0)
    assert rounded_up
    assert found == json.loads(PATH.read_text())


@st.composite
def derived(draw):
    """Specifications of all sizes, if they can be computed."""
    columns = draw(st.lists(st.integers(0, 400), min_size=2, max_size=5))
    assume(any(columns) and columns.count(0) < 2)
    asked = spec(
        draw(st.one_of(st.integers(2, 50), st.integers(2, 1_000_000))),
        columns,
        label_owner=columns.index(0) if 0 in columns else 1,
        C=draw(st.sampled_from(["0.0001", "0.01", "0.5", "1", "100", "100000"])),
        max_iter=draw(st.one_of(st.integers(1, 40), st.integers(1, 5000))),
        loss_every=draw(st.integers(0, 20)),
        fit_intercept=draw(st.booleans()),
        clip_bits=draw(st.integers(2, 6)),
    )
    try:
        return asked, derive(asked)
    except ProgramError:
        assume(False)


def rejected(agreed):
    """How probable it is that a slot's openings are rejected, at most."""
    return Fraction(agreed.width << agreed.state_window, 1 << 64) + Fraction(
        agreed.rows << agreed.residual_window, 1 << 64
    )


@some
@given(derived())
def test_openings_fit_their_windows(case):
    """Shifts leave bits, windows leave the ring room: a slot is rejected less than once in a hundred times."""
    _, agreed = case
    assert 1 <= agreed.state_shift < agreed.state_window
    assert 1 <= agreed.residual_shift < agreed.residual_window
    assert 1 <= agreed.loss_shift < agreed.loss_window < 63
    assert agreed.state_window > agreed.state_bits
    assert (
        1 << (agreed.residual_window - 1) > 2 * agreed.models[0].residual_unit
    )  # a residual is below 1, and sines overshoot
    assert agreed.loss_window > LOSS_BITS + (agreed.rows - 1).bit_length()
    assert rejected(agreed) < Fraction(1, 100)


@some
@given(derived())
def test_copies_and_spare_slots_suffice(case):
    """All copies of one opening are rejected less than once in 2**40 times; a segment's slots are too few less than
    once in 2**19.
    """
    _, agreed = case
    alone = max(Fraction(agreed.width << agreed.state_window, 1 << 64), Fraction(1 << agreed.loss_window, 1 << 64))
    assert alone**agreed.copies <= Fraction(1, 1 << 40)
    assert sum(segment.iterations for segment in agreed.segments) == agreed.max_iter
    for segment in agreed.segments:
        assert binom.sf(segment.spares, segment.slots, float(rejected(agreed))) < 2.0**-19


@some
@given(st.integers(1, 2000), st.integers(0, 200))
def test_losses_fall_on_multiples(max_iter, loss_every):
    """However a run is cut by range guards, the loss is reported of every so many iterations from the beginning."""
    agreed = program([1, 1], max_iter=max_iter, loss_every=loss_every)
    assert sum(map(agreed.reports, agreed.segments)) == (max_iter // loss_every if loss_every else 0)
    begins = [sum(each.iterations for each in agreed.segments[:number]) for number in range(len(agreed.segments))]
    assert not loss_every or loss_every > max_iter or all(begin % loss_every == 0 for begin in begins)
    assert len(agreed.segments) <= 3
    assert len(agreed.segments) == 3 or max_iter < 30 or loss_every > max_iter // 5


@some
@given(derived())
def test_sums_of_products_stay_within_a_word(case):
    """The public waves and the scores that the range guard compares are below 2**63, for weights within their bound."""
    _, agreed = case
    shift = COEFFICIENT_BITS + TABLE_BITS
    for rung in agreed.ladder:
        assert max(rung.sigmoid) * agreed.models[0].residual_unit >> shift < 1 << 32
        assert max(map(abs, rung.softplus)) >> (shift - LOSS_BITS) < 1 << 32
        assert 2 * (rung.bound << SCORE_BITS) < 1 << rung.modulus_bits
    weight_bits = agreed.state_window - 1 - agreed.state_bits
    assert agreed.width << (agreed.clip_bits + weight_bits + SCORE_BITS + 1) < 1 << 63
    assert TRIG_BITS + 32 < 63


@some
@given(derived())
def test_the_step_and_the_penalty_are_of_one_objective(case):
    """The penalty's integers and the residual's stand to each other as C says, to half a unit of either."""
    asked, agreed = case
    data = Fraction(agreed.models[0].residual_unit, 1 << agreed.residual_shift) * (
        1 << DATA_BITS
    )  # step / rows, gradient's scale
    lift = 1 << (agreed.state_bits - MOMENTUM_BITS)
    penalty = Fraction(agreed.models[0].ridge, agreed.models[0].ridge_every) * (1 << ITERATE_BITS)
    error = abs(penalty * Fraction(Decimal(asked.C)) - data) / data
    assert error <= Fraction(1, agreed.models[0].residual_unit)
    assert agreed.models[0].ridge >= 1
    # Never longer than the curvature of standardised columns allows.
    curvature = (Fraction(105, 100) * agreed.columns + 1) / 4 + 1 / (Fraction(Decimal(asked.C)) * agreed.rows)
    assert data / lift <= (1 + Fraction(1, 1000)) / (curvature * agreed.rows)


def test_a_rung_is_wider_than_the_one_before():
    """Climbing the ladder helps: each period is longer, and its bound is the greatest score that it is made for."""
    ladder = program([1, 1]).ladder
    assert [rung.period for rung in ladder] == sorted({rung.period for rung in ladder})
    assert [rung.bound for rung in ladder] == [bound(rung.period) for rung in ladder]


def test_a_program_names_all_that_it_discloses():
    """Coefficients to their owners, the intercept to the labels' owner, guard bits and losses to the session."""
    agreed = derive(spec(columns=(2, 0, 3)))
    assert agreed.disclosures() == (
        Opening(name="coefficients", recipients=(0,), count=1, values=2),
        Opening(name="coefficients", recipients=(2,), count=1, values=3),
        Opening(name="intercept", recipients=(1,), count=1, values=1),
        Opening(name="guard", recipients="session", count=5, values=1),
        Opening(name="loss", recipients="session", count=50, values=1),
    )
    assert agreed.phases <= 8  # guard bits that a session may disclose


def test_columns_have_one_owner():
    """Each place of the joint table is one party's; the constant column counts as the lowest rank's."""
    agreed = derive(spec(columns=(2, 0, 3)))
    assert [agreed.own(rank) for rank in range(3)] == [[0, 1, 5], [], [2, 3, 4]]
    assert derive(spec(columns=(2, 0, 3), fit_intercept=False)).own(0) == [0, 1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"columns": (3,), "label_owner": 0}, "two parties"),
        ({"columns": (3, 0, 1), "label_owner": 0}, "party 1 owns no entry"),
        ({"columns": (0, 0)}, "feature column"),
        ({"rows": 1}, "two training rows"),
        ({"rows": 0}, "two training rows"),
        ({"rows": -5}, "two training rows"),
        ({"rows": MAX_CELLS}, "cells"),
        ({"rows": 1 << 22, "columns": (30, 30)}, "too few bits"),
        ({"max_iter": 0}, "max_iter"),
        ({"max_iter": 10**12}, "max_iter"),
        ({"loss_every": -1}, "loss_every"),
        ({"clip_bits": -1}, "clip_bits"),
        ({"clip_bits": 40}, "clip_bits"),
        ({"C": "0"}, "outside"),
        ({"C": "-1"}, "outside"),
        ({"C": "1e6"}, "outside"),
        ({"C": "1e999999999"}, "outside"),
        ({"C": "nan"}, "finite"),
        ({"C": "inf"}, "finite"),
        ({"C": "much"}, "decimal"),
        ({"C": ""}, "decimal"),
        ({"C": "100000"}, "too weak a penalty"),
    ],
)
def test_what_can_t_be_computed_is_refused(changes, says):
    """A bad specification is refused before anything runs, in a sentence about what is wrong."""
    with pytest.raises(ProgramError, match=says):
        derive(spec(**changes))


@pytest.mark.parametrize("changes", [{"rows": 1.5}, {"C": 1.0}, {"solver_": "magic"}, {"engine": "magic"}])
def test_another_form_is_no_specification(changes):
    """Fields of other types or names are refused."""
    with pytest.raises(ValidationError):
        spec(**changes)


def test_a_program_is_frozen():
    """Nobody changes a program that others have signed."""
    with pytest.raises(ValidationError):
        derive(spec()).max_iter = 1

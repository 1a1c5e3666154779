"""Correlations: what the dealer computes is what their names say, in an order that the program alone decides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.fused_program import Segment
from mpc.layouts import Layout, Masks, corrected, items, label_totals, layout, opening_items, tuple_number, values
from mpc.randomness import Secret, Stream
from mpc.ring import product, shifted, top32
from mpc.scales import SCORE_BITS, TABLE_BITS
from tests.mpc.engine import joined, partitions, program, seeds, session, some, table, uniform, unsigned

KINDS = ("labels", "slot", "tables", "report", "checkpoint")
layouts = st.builds(
    Layout,
    st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(0, 3), max_size=2).map(tuple)),
    st.dictionaries(st.sampled_from("xyz"), st.lists(st.integers(0, 3), max_size=2).map(tuple), min_size=1),
)


@some
@given(layouts, seeds)
def test_values_in_a_row_keep_their_names(shape, seed):
    """Joining and splitting are inverse, and a row is as long as the layout says."""
    stream = Stream(Secret(bytes(32)), seed)
    parts, row = shape.expand_parts(stream), shape.expand_values(stream)
    assert {name: part.shape for name, part in parts.items()} == shape.parts
    assert row.shape == (shape.words,)
    found = shape.split(row)
    assert {name: value.shape for name, value in found.items()} == shape.values
    assert (shape.join(found) == row).all()


def dealt(agreed, rung, kind, seed):
    """Parts drawn at random, the masks of a session, and the values that follow."""
    generator = np.random.default_rng(seed)
    shape = layout(agreed, rung, kind)
    parts = {name: uniform(generator, size) for name, size in shape.parts.items()}
    A, A_y, totals = (
        uniform(generator, size) for size in ((agreed.rows, agreed.width), (agreed.rows, 1), (agreed.width, 1))
    )
    masks = Masks(A, A_y, totals, label_totals(agreed, A, A_y))
    return parts, masks, values(agreed, rung, kind, parts, masks)


@pytest.mark.parametrize("rung", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_values_have_the_shapes_that_are_declared(kind, rung):
    """What the dealer computes has the names and shapes of its layout, in every rung."""
    agreed = program([2, 1])
    _, _, found = dealt(agreed, agreed.ladder[rung], kind, 1)
    assert {name: value.shape for name, value in found.items()} == layout(agreed, agreed.ladder[rung], kind).values


@some
@given(partitions, seeds)
def test_values_are_functions_of_the_masks(columns, seed):
    """Upper bits, products with the masked table and with the labels' totals are the integers' modulo 2**64."""
    agreed = program(columns, rows=5)
    parts, masks, found = dealt(agreed, agreed.ladder[0], "slot", seed)
    assert unsigned(found["low"]) == [mask >> agreed.state_shift for mask in unsigned(parts["mask"])]
    assert unsigned(found["noise_low"]) == [mask >> agreed.residual_shift for mask in unsigned(parts["noise"])]
    assert (found["table_low"] == product(masks.table, found["low"])).all()
    assert (found["table_noise"] == product(masks.table.T, found["noise_low"])).all()
    assert found["labels_low"].tolist() == [int((masks.totals * found["low"]).sum())]


@pytest.mark.parametrize("rung", [0, 1, 2])
def test_tables_are_of_the_angle_without_its_lowest_bits(rung):
    """Sines and cosines of all odd multiples, within half a unit of the table and floating point's error."""
    agreed = program([2, 1], rows=40)
    chosen = agreed.ladder[rung]
    parts, _, found = dealt(agreed, chosen, "tables", rung)
    fraction = top32(parts["turn"], chosen.modulus_bits).view(np.uint32).astype(object)
    for row, k in enumerate(range(1, 2 * chosen.harmonics, 2)):
        # In halves of a unit, reduced as integers, so that the oracle has no error of its own.
        angle = 2 * np.pi / 2.0**33 * (k * (2 * fraction + 1) % (1 << 33)).astype(np.float64)
        assert np.abs(found["cosines"][row] - np.cos(angle) * 2**TABLE_BITS).max() <= 0.5 + 1e-6
        assert np.abs(found["sines"][row] - np.sin(angle) * 2**TABLE_BITS).max() <= 0.5 + 1e-6


@some
@given(partitions, st.data())
def test_the_labels_owner_gets_no_help_with_its_own_columns(columns, data):
    """The dealer's part of X^T y is A^T A_y elsewhere and zero there, or the owner's totals would be counted twice."""
    owner = None if 0 in columns else data.draw(st.integers(0, len(columns) - 1))
    agreed = program(columns, rows=5, label_owner=owner)
    _, masks, found = dealt(agreed, agreed.ladder[0], "labels", 1)
    expected = product(masks.table.T, masks.labels)
    expected[agreed.held(agreed.label_owners[0])] = 0
    assert (found["table_labels"] == expected).all()


def test_copies_have_masks_of_their_own():
    """A checkpoint's copies are independent tuples, each with its own product."""
    agreed = program([2, 1])
    parts, masks, found = dealt(agreed, agreed.ladder[0], "checkpoint", 1)
    assert len(set(parts["mask"].reshape(-1).tolist())) == agreed.copies * agreed.width
    for copy in range(agreed.copies):
        assert (found["low"][copy] == shifted(parts["mask"][copy], agreed.state_shift)).all()
        assert (found["table_low"][copy] == product(masks.table, found["low"][copy])).all()


@some
@given(st.integers(1, 50), st.integers(0, 20), st.integers(0, 7))
def test_the_schedule_follows_from_the_program(iterations, spares, loss_every):
    """Each slot once, one report for every so many iterations, as many slots late as there are spares, one guard."""
    agreed = program([1, 1], max_iter=iterations, loss_every=loss_every)
    segment = Segment(iterations=iterations, slots=iterations + spares)
    found = items(agreed, segment)
    assert found.count("slot") == segment.slots
    assert found.count("report") == agreed.reports(segment)
    assert found[-1] == "checkpoint"
    assert found.count("checkpoint") == 1
    slots = [found[: place + 1].count("slot") for place, kind in enumerate(found) if kind == "report"]
    assert slots == [spares + loss_every * (number + 1) for number in range(len(slots))]


def test_labels_are_dealt_only_for_losses():
    """Without loss reports nothing is dealt about labels."""
    assert opening_items(program([1, 1], loss_every=0)) == ()
    assert opening_items(program([1, 1])) == ("labels",)
    assert "labels_low" not in layout(program([1, 1], loss_every=0), program([1, 1]).ladder[0], "slot").values


@some
@given(st.integers(0, 40), st.integers(0, 1 << 20), st.integers(2, 5))
def test_tuples_have_numbers_of_their_own(phase, place, world):
    """No two tuples of a session share a number, and every party is corrected in turn."""
    number = tuple_number(phase, place)
    assert number != tuple_number(phase + 1, place)
    assert number >> 32 == phase
    assert {corrected(number + step, world) for step in range(2 * world)} == set(range(world))
    for kinds in range(1, world + 1):  # that take turns
        assert {corrected(tuple_number(phase, kinds * step), world) for step in range(world * world)} == set(
            range(world)
        )


@pytest.mark.parametrize("columns", [[2, 1], [0, 3, 1], [1, 1, 1, 1, 1]])
def test_parties_hold_shares_of_what_the_dealer_computed(columns):
    """Over all parties, a tuple's values are those of the parts' sums, whoever was corrected."""
    agreed = program(columns)

    def party(_table, _labels, tuples):
        return tuples

    everyone, _ = session(agreed, *table(agreed, 1), party)
    for place in range(agreed.segments[0].slots):
        parts = {name: joined([each["slot"][place][0][name] for each in everyone]) for name in ("mask", "noise")}
        found = {name: joined([each["slot"][place][1][name] for each in everyone]) for name in ("low", "noise_low")}
        assert (found["low"] == shifted(parts["mask"], agreed.state_shift)).all()
        assert (found["noise_low"] == shifted(parts["noise"], agreed.residual_shift)).all()
        assert np.abs(joined([each["tables"][place][1]["sines"] for each in everyone])).max() <= 1 << TABLE_BITS


def test_scores_matter_modulo_the_period():
    """A rung's modulus is its period at the scores' scale."""
    for rung in program([1, 1]).ladder:
        assert 1 << rung.modulus_bits == rung.period << SCORE_BITS

"""What people read off ROC and calibration tables: estimates within ranges that follow from what was told."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from mpc.curves import CURVES, THRESHOLDS, Points, exact_points, marks, mirrored, points
from parties.outcome import curves
from parties.web import TEMPLATES

TOLD = Points(
    thresholds=(2.0, 1.0, 0.0),
    positives=((0, 9), (10, 19), (10, 19), (30, 39)),
    negatives=((0, 9), (0, 9), (10, 19), (40, 49)),
)
SURER = Points(thresholds=(0.0,), positives=((10, 19), (30, 39)), negatives=((0, 9), (100, 109)))
rows = st.lists(st.tuples(st.floats(-20, 20), st.booleans()), min_size=20, max_size=120)


def told(curve, scored, cell=5):
    """The table of scored rows as a session is told it, and the one with exact counts."""
    plain = exact_points(curve, [[z for z, label in scored if label is own] for own in (True, False)])
    facts = len(scored), cell
    reached = [
        [sum(mark <= count for mark in held_against) for count, _ in own]
        for held_against, own in ((marks(*facts), plain.positives), (mirrored(*facts), plain.negatives))
    ]
    return points(curve, *facts, *reached), plain


def test_a_roc_curve_s_points():
    """A rate is about the middle of a count to the middle of all, and surely between the ends of both."""
    first, second, third = curves.roc(TOLD)
    assert (first.positives, first.negatives) == ((0, 9), (0, 9))
    assert first.probability == pytest.approx(0.8808, abs=1e-4)
    assert (second.true_rate, second.true_range) == (pytest.approx(14.5 / 34.5), (10 / 39, 19 / 30))
    assert (third.false_rate, third.false_range) == (pytest.approx(14.5 / 44.5), (10 / 49, 19 / 40))


def test_thresholds_of_which_the_same_is_told_are_one_point():
    """The lowest stands for all, unless every one is asked for."""
    same = Points(
        thresholds=(2, 1, 0), positives=((0, 9),) * 2 + ((9, 9),) * 2, negatives=((0, 9),) * 2 + ((9, 9),) * 2
    )
    (one,) = curves.roc(same)
    assert one.probability == curves.probability(1)
    assert len(curves.roc(same, every=True)) == 3


def test_groups_of_a_calibration_table():
    """Between two thresholds are the lower one's rows less the upper one's, as far as told; few rows have no share."""
    lowest, low, high, highest = curves.calibration(TOLD)
    assert lowest.predicted == (0, 0.5)
    assert (lowest.positives, lowest.rows) == ((11, 29), (32, 68))
    assert lowest.share is None
    assert curves.calibration(SURER)[0].share == pytest.approx(20 / 120)
    assert lowest.share_range == (11 / (11 + 39), 29 / (29 + 21))
    assert (low.positives, low.rows, low.share) == ((0, 9), (1, 28), None)
    assert (high.positives, high.rows, high.share) == ((1, 19), (1, 28), None)
    assert (highest.rows, highest.share) == ((0, 18), None)
    assert highest.predicted[1] == 1


@given(rows)
def test_ranges_hold_what_is_so(scored):
    """Whatever the rows, the exact rates, shares and counts are within the ranges that the told table gives."""
    found, plain = told("calibration", scored)
    for one, exact in zip(curves.calibration(found), curves.calibration(plain), strict=True):
        assert one.rows[0] <= exact.rows[0] <= one.rows[1]
        assert one.positives[0] <= exact.positives[0] <= one.positives[1]
        assert exact.share is None or one.share_range[0] <= exact.share <= one.share_range[1]
        assert one.share is None or one.share_range[0] <= one.share <= one.share_range[1]
    found, plain = told("roc", scored)
    for one, exact in zip(curves.roc(found, every=True), curves.roc(plain, every=True), strict=True):
        assert one.true_range[0] <= exact.true_rate <= one.true_range[1]
        assert one.false_range[0] <= exact.false_rate <= one.false_range[1]
        assert one.true_range[0] <= one.true_rate <= one.true_range[1]
        assert 0 <= one.false_rate <= 1


def test_lines_of_a_terminal():
    """Both tables, ranges beside numbers; a group of which little is told has a dash."""
    shown = "\n".join(curves.lines({"roc": TOLD, "calibration": SURER}))
    for said in ("0.8808", "10 to 19", "0.42", "0.26-0.63", "0.00 to 0.50", "102 to 138", "0.17", "   -"):
        assert said in shown
    assert not list(curves.lines({}))


def drawn(tables):
    """The pictures as both pages make them."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(), undefined=StrictUndefined
    )
    return environment.get_template("curves.html").module.plots(tables, curves)


def test_pictures_show_what_is_told():
    """A point for each threshold of the ROC curve, a bar for each group that has a share, tables beneath, no script."""
    shown = drawn({"roc": TOLD, "calibration": SURER})
    assert shown.count("<svg") == 2
    assert shown.count("<rect") == 3
    assert shown.count("<line") == 2
    assert "32.58,57.97" in shown
    assert "too few rows" in shown
    assert "style=" not in shown
    assert "<script" not in shown


def test_a_table_that_was_not_told_is_not_drawn():
    """One stands without the other."""
    assert drawn({"roc": TOLD}).count("<svg") == 1
    assert "Calibration" not in drawn({"roc": TOLD})
    assert "<svg" not in drawn({})


EMPTY = Points(thresholds=(64, -64), positives=((0, 0),) * 3, negatives=((0, 0),) * 3)


@pytest.mark.parametrize(
    "found", [EMPTY, Points(thresholds=(), positives=((0, 0),), negatives=((0, 1 << 53),))], ids=str
)
def test_whatever_a_participant_calls_a_table_is_shown(found):
    """Tables of nobody, of no threshold, of any count: a page never fails for what another organisation sent."""
    assert list(curves.lines({"roc": found, "calibration": found}))
    assert drawn({"roc": found, "calibration": found})
    assert inf not in [each for one in curves.roc(found) for each in one.true_range]


def test_every_table_can_be_read():
    """No kind of table is left out of what people see."""
    scored = [(z / 4, z % 3 == 0) for z in range(-40, 40)]
    found = {curve: told(curve, scored)[0] for curve in CURVES}
    assert [len(each.thresholds) for each in found.values()] == [len(each) for each in THRESHOLDS.values()]
    assert len(list(curves.lines(found))) > 20

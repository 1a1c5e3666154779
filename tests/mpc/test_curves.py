"""ROC and calibration tables: exact counts, told so that each keeps as many possible values as a cell has rows."""

from bisect import bisect_right
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mpc import costs, counting
from mpc.curves import CURVES, GRAIN, LEAST_CELL, THRESHOLDS, Points, counts, exact_points, marks, mirrored, points
from mpc.design import Opening
from mpc.errors import DisclosureRefused, ProgramError
from mpc.evaluation_derivation import BINS, MOST_ROWS, PERIOD
from mpc.evaluation_program import EVERY_FIGURE
from mpc.lanes import EVALUATION
from mpc.partition import Partition, horizontal, labels_with
from mpc.requests import Listed
from mpc.requests import counting as requested
from mpc.scales import GUARD_SCORES
from mpc.simulation import Simulation
from tests.mpc.engine import few, program, seeds, some, split, taken, worlds
from tests.mpc.test_evaluation import PARTITIONS, Evaluated, chunked, evaluated, rows_of, width
from tests.mpc.test_rejections import often_rejected

cells = st.integers(LEAST_CELL, 40)


def tabled(columns, held_out_rows=60, figures=CURVES, **changes):
    """A small program that tells tables."""
    return evaluated(columns, held_out_rows, figures=figures, **changes)


@some
@given(cells, st.data())
def test_marks_lie_a_cell_apart(cell, data):
    """Between two marks of either class, and before the first and after the last, is room for a cell of counts."""
    rows = data.draw(st.one_of(st.integers(2 * cell, 4 * cell), st.integers(2 * cell, MOST_ROWS)))
    for found in (marks(rows, cell), mirrored(rows, cell)):
        assert all(below + cell <= above for below, above in pairwise((0, *found, rows + 1)))


@some
@given(cells, st.integers(0, 10_000))
def test_marks_are_as_near_as_they_may_be(cell, more):
    """They are told in steps of a cell, or of the 64th part of what is on the nearer side, and never coarser."""
    rows = 2 * cell + more
    for below, above in pairwise((0, *marks(rows, cell), rows + 1)):
        assert above - below < 2 * max(cell, min(below, rows + 1 - above) // 64 + 1) + 1


@pytest.mark.parametrize(("rows", "cell"), [(6, 3), (9, 4), (10, 3), (11, 3), (12, 4), (13, 4), (12, 2)])
def test_no_count_is_narrowed_below_a_cell(rows, cell):
    """Whatever is told, and with the number of rows known to all: each count above or below a threshold or between two,
    of one class or of both, has as many possible values as a cell. Every table of two thresholds is tried."""
    possible = {}
    for positives in range(rows + 1):
        for p, n in product(_falling(positives), _falling(rows - positives)):
            told = _told(marks(rows, cell), p) + _told(mirrored(rows, cell), n)
            sets = possible.setdefault(told, [set() for _ in range(18)])
            for found, value in zip(sets, _between(p) + _between(n) + _between(np.add(p, n)), strict=True):
                found.add(int(value))
    fewest = [min(len(found[place]) for found in possible.values()) for place in range(18)]
    everybody = 6 * 2 + 2  # how many rows there are is no secret
    assert min(fewest[:everybody] + fewest[everybody + 1 :]) >= cell
    assert len(possible) > 1


def _falling(total):
    """Counts above two thresholds, and of all."""
    return [(above, below, total) for below in range(total + 1) for above in range(below + 1)]


def _between(own):
    return [below - above for above, below in combinations((0, *own), 2)]


def _told(held_against, exact):
    return tuple(bisect_right(held_against, count) for count in exact)


def exact(agreed, curve, histogram):
    """Counts at or above each threshold, and of all rows: the oracle."""
    centres = (np.arange(agreed.evaluation.bins) + 0.5) * width(agreed) - PERIOD / 2
    return [int(histogram[centres > z / GRAIN].sum()) for z in THRESHOLDS[curve]] + [int(histogram.sum())]


def expected(agreed, curve, positives, negatives):
    """What is to be told of exact counts."""
    facts = agreed.evaluation.rows, agreed.evaluation.cell
    return points(curve, *facts, _told(marks(*facts), positives), _told(mirrored(*facts), negatives))


def opened(agreed, positives, negatives, seed):
    """What each party is told of histograms, and what it spent."""
    generator = np.random.default_rng(seed)
    shares = [split(generator, agreed.world, each) for each in (positives, negatives)]

    def party(runtime):
        taken(agreed, runtime)
        before = runtime.channel.counters.rounds, runtime.channel.counters.bytes_sent
        found = counting.curves(agreed.evaluation, *(each[runtime.rank] for each in shares), runtime)
        after = runtime.channel.counters.rounds, runtime.channel.counters.bytes_sent
        return found, tuple(np.subtract(after, before).tolist())

    requests = Listed(phase=requested(agreed.world, agreed.evaluation.compared_words))
    return zip(*Simulation(agreed, requests=requests).run(party), strict=True)


def spent(agreed, rank):
    """Declared, of the tables alone."""
    words, n = agreed.evaluation.compared_words, agreed.world
    found = [costs.comparison(n, min(GUARD_SCORES, words - start)) for start in range(0, words, GUARD_SCORES)]
    found += [costs.disclosure(n, rank, each) for each in agreed.evaluation.disclosures()]
    return costs.total(found).rounds, costs.total(found).bytes_sent


@few
@given(worlds, st.integers(40, 300), st.integers(LEAST_CELL, 20), st.sampled_from(["roc", "calibration"]), seeds)
def test_tables_are_the_histograms(world, rows, cell, curve, seed):
    """Each model's counts, at any number of parties, are told exactly, at the declared cost."""
    agreed = tabled([1] * world, rows, (curve,), smallest_cell=cell, C=("0.1", "1.0", "10"), tol="0")
    generator = np.random.default_rng(seed)
    bins = np.clip(generator.normal(agreed.evaluation.bins / 2, 2 / width(agreed), (3, rows)), 0, None).astype(int)
    y = generator.random((3, rows)) < generator.choice([0, 0.1, 0.5, 1], (3, 1))
    sides = [
        np.stack(
            [
                np.bincount(model[label], minlength=agreed.evaluation.bins)
                for model, label in zip(bins, side, strict=True)
            ]
        )
        for side in (y, ~y)
    ]
    found, cost = opened(agreed, *sides, seed)
    wanted = [
        expected(agreed, curve, exact(agreed, curve, positives), exact(agreed, curve, negatives))
        for positives, negatives in zip(*sides, strict=True)
    ]
    assert all(each == {curve: wanted} for each in found)
    assert cost == tuple(spent(agreed, rank) for rank in range(world))


def test_many_counts_are_compared_in_parts():
    """Of many models and rows no more are compared at once than memory is declared for."""
    agreed = tabled([1, 1], 20_000, C=tuple(f"0.{n}" for n in range(1, 3)), tol="0")
    assert agreed.evaluation.compared_words > GUARD_SCORES
    histograms = np.ones((2, 2, agreed.evaluation.bins), dtype=np.int64)
    found, cost = opened(agreed, *histograms, 1)
    for curve in CURVES:
        count = exact(agreed, curve, histograms[0, 0])
        assert found[0][curve] == [expected(agreed, curve, count, count)] * 2
    assert cost == (spent(agreed, 0), spent(agreed, 1))


@pytest.mark.parametrize("count", BINS)
@pytest.mark.parametrize("curve", CURVES)
def test_thresholds_are_edges_of_bins(curve, count):
    """However fine the bins, a threshold falls between two, the lowest below all scores, and they fall."""
    agreed = tabled([1, 1])
    found = counting.edges(agreed.evaluation.model_copy(update={"bins": count}), curve)
    assert [edge * PERIOD / count - PERIOD / 2 for edge in found[:-1]] == [z / GRAIN for z in THRESHOLDS[curve]]
    assert found[-1] == 0
    assert all(above > below for above, below in pairwise(found))


@some
@given(seeds, st.integers(20, 200), st.integers(LEAST_CELL, 10))
def test_points_hold_the_exact_counts(seed, rows, cell):
    """What is told of scores are ranges that hold the counts of whoever has them in clear."""
    generator = np.random.default_rng(seed)
    z, y = generator.normal(0, 3, rows), generator.random(rows) < 0.4
    for curve in CURVES:
        plain = exact_points(curve, [z[y].tolist(), z[~y].tolist()])
        told = expected(
            tabled([1, 1], rows, smallest_cell=cell),
            curve,
            *([least for least, _ in own] for own in plain_counts(plain)),
        )
        assert told.thresholds == plain.thresholds
        for ranges, counted in zip(plain_counts(told), plain_counts(plain), strict=True):
            assert all(least <= count <= most for (least, most), (count, _) in zip(ranges, counted, strict=True))
            assert all(most - least >= cell - 1 for least, most in ranges)


def plain_counts(found):
    return found.positives, found.negatives


def check_tables(run):
    """Each told count holds the true one, but for rows whose scores are within a bin of the threshold."""
    z, y, h = run.scores, run.held_y, width(run.agreed)
    for fit in run.fits:
        for curve in run.agreed.evaluation.curves:
            found = fit.models[0].figures[curve]
            assert found == run.fits[0].models[0].figures[curve]
            for told, label in ((found.positives, 1), (found.negatives, 0)):
                own = z[y == label]
                for (least, most), threshold in zip(told, (*found.thresholds, -np.inf), strict=True):
                    assert least <= (own >= threshold - 1.5 * h).sum()
                    assert most >= (own >= threshold + 1.5 * h).sum()


@pytest.mark.parametrize("columns", PARTITIONS, ids=len)
@pytest.mark.parametrize("figures", [EVERY_FIGURE, CURVES, ("roc",), ("calibration",), ("auc", "roc")], ids="+".join)
def test_tables_are_those_of_the_model(columns, figures):
    """Whoever holds columns and labels, beside other figures or alone, and at the quoted cost."""
    agreed = chunked(tabled(columns, 90, figures, rows=60, max_iter=6, smallest_cell=5), 40)
    run = Evaluated(agreed)
    check_tables(run)
    assert tuple(run.fits[0].models[0].figures) == figures
    counters, quote = [channel.counters for channel in run.simulation.channels], costs.quote(agreed)
    assert {each.rounds for each in counters} == {quote.rounds}
    assert tuple(each.bytes_sent for each in counters) == quote.bytes_sent
    assert run.simulation.dealing.bytes_sent == quote.dealer_bytes


def test_rows_of_several_owners_have_tables():
    """Where parties own rows, counts are of all parties' held-out rows."""
    blocks, others = horizontal([30, 20, 40], 3), horizontal([20, 25, 15], 3)
    held_out = Partition(rows=60, blocks=others, labels=labels_with(others))
    changes = {"rows": 90, "blocks": blocks, "labels": labels_with(blocks), "held_out": held_out}
    run = Evaluated(evaluated([3], None, label_owner=0, max_iter=8, loss_every=0, figures=CURVES, **changes))
    check_tables(run)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_told_as_fewer_than_a_cell_of_the_other(label):
    """Rows of one class tell no more than that there may be a few of the other."""
    agreed = tabled([1, 1], 60)
    X, _ = rows_of(agreed, 2)
    found = Evaluated(agreed, (X, np.full(60, label))).fits[0].models[0].figures["calibration"]
    none, all_ = (found.positives, found.negatives)[:: 1 if label == 0 else -1]
    assert all(least == 0 and most >= 9 for least, most in none)
    assert all_[-1][0] <= 51
    assert all_[-1][1] == 60


@pytest.mark.parametrize("columns", PARTITIONS[:2], ids=len)
def test_the_dealer_receives_the_same_whatever_is_counted(columns):
    """Messages to the dealer, and the sizes of its own, depend on no count."""
    agreed = chunked(often_rejected(columns, held_out_rows=60, figures=EVERY_FIGURE, max_iter=12, loss_every=4), 16)
    X, y = rows_of(agreed, 9)
    runs = [Evaluated(agreed, held) for held in ((X, y), (X * 8, 1 - y), (np.zeros_like(X), np.ones_like(y)))]
    first, *rest = [(run.listener.to_dealer(), run.listener.from_dealer(), run.listener.trace()) for run in runs]
    assert all(other == first for other in rest)
    assert all(messages.count(EVALUATION) == 2 for messages in first[0])


def test_a_program_names_its_tables():
    """Each is one disclosure to the session, of all its counts of both classes; the ledger allows it once."""
    plain, agreed = program([1, 1]), tabled([1, 1], C=("0.1", "1.0"), tol="0")
    added = [each for each in agreed.disclosures() if each.name in CURVES]
    assert added == [
        Opening(name=curve, recipients="session", count=1, values=2 * 2 * counts(curve)) for curve in CURVES
    ]
    assert not [each for each in plain.disclosures() if each.name in CURVES]


def test_a_table_that_the_program_does_not_name_is_not_opened():
    """A party whose program has no tables discloses none, whatever another's says."""
    agreed, other = evaluated([1, 1], 60), tabled([1, 1], 60)
    histograms = np.zeros((2, 1, agreed.evaluation.bins), dtype=np.int64)

    def party(runtime):
        taken(agreed, runtime)
        counting.curves(other.evaluation, *histograms, runtime)

    requests = Listed(phase=requested(agreed.world, other.evaluation.compared_words))
    with pytest.raises(DisclosureRefused, match="roc"):
        Simulation(agreed, requests=requests).run(party)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"smallest_cell": LEAST_CELL - 1}, "a smallest cell of 4 rows; choose one of 5 rows at least"),
        ({"smallest_cell": 31}, "60 held-out rows are less than two cells of 31"),
        ({"held_out_rows": 19}, "held-out rows"),
        ({"figures": ("roc", "auc")}, "out of order"),
        ({"figures": ("roc", "roc")}, "twice"),
    ],
)
def test_what_can_t_be_told_is_refused(changes, says):
    """Cells that are too small or too large for the rows: no program."""
    with pytest.raises(ProgramError, match=says):
        tabled([1, 1], **changes)


def test_a_cell_is_of_tables_alone():
    """Where no table is asked for, a cell changes nothing."""
    assert evaluated([1, 1], 60, smallest_cell=3) == evaluated([1, 1], 60)
    with pytest.raises(ProgramError, match="no tables"):
        evaluated([1, 1], 60).evaluation.cell  # noqa: B018


GOOD = {"thresholds": [1.0, 0.0], "positives": [[0, 9], [10, 19], [10, 19]], "negatives": [[0, 9], [0, 9], [20, 29]]}
BAD = {
    "thresholds that rise": {"thresholds": [0.0, 1.0]},
    "a threshold that is no number": {"thresholds": [float("inf"), float("nan")]},
    "a threshold beyond all scores": {"thresholds": [1e308, 0.0]},
    "a count too few": {"positives": [[0, 9], [10, 19]]},
    "a count too many": {"negatives": [[0, 9]] * 4},
    "a count below none": {"negatives": [[-1, 9]] * 3},
    "a least above its most": {"negatives": [[9, 0]] * 3},
    "counts that fall": {"positives": [[10, 19], [0, 9], [10, 19]]},
    "an endless table": {
        "thresholds": list(range(300, 0, -1)),
        "positives": [[0, 9]] * 301,
        "negatives": [[0, 9]] * 301,
    },
}


@pytest.mark.parametrize("case", BAD)
def test_bad_points_are_refused(case):
    """What another organisation calls a table is one, or is no message."""
    assert Points.model_validate(GOOD)
    with pytest.raises(ValidationError):
        Points.model_validate(GOOD | BAD[case])

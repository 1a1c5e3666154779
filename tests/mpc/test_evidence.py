"""Counts of labels by bins: told to a column's owners alone, in steps of cells, from masked words, and at what cost."""

from bisect import bisect_right
from itertools import cycle, pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from mpc import costs
from mpc.amounts import mean_losses
from mpc.curves import LEAST_CELL, marks, mirrored
from mpc.disclosure import ProgramLedger
from mpc.errors import DisclosureRefused, PrivityError, ProgramError
from mpc.evaluation_program import FIGURES
from mpc.evidence import counted, tell_values, weigh, weighing_rows
from mpc.evidence_program import (
    Evidence,
    Weighed,
    bin_marks,
    compared_words,
    crossings,
    jointly,
    owners_of,
    told,
)
from mpc.held_out import OwnRows
from mpc.lanes import ANNOUNCEMENT
from mpc.moments import joint_moments
from mpc.partition import labels_of, vertical
from mpc.requests import listed
from mpc.scales import GUARD_SCORES, LOSS_BITS
from mpc.simulation import Simulation
from mpc.training import train
from mpc.validation import trains
from tests.mpc.engine import own, program, seeds, some, table, taken
from tests.mpc.listener import Listener
from tests.mpc.test_costs import quoted
from tests.mpc.test_requests import Asked, expected
from tests.mpc.tilings import KINDS, derived, divided, tilings

ROWS = 60
VERTICAL = {"rows": ROWS, "blocks": vertical(ROWS, [2, 1, 1]), "labels": labels_of(ROWS, 2)}


def weighed(*bins, columns=None, cell=LEAST_CELL, tells_values=False, folds=0):
    """So many bins of each column, the first ones unless told otherwise."""
    places = range(len(bins)) if columns is None else columns
    found = tuple(Weighed(column=column, bins=count) for column, count in zip(places, bins, strict=True))
    return Evidence(columns=found, smallest_cell=cell, tells_values=tells_values, folds=folds)


def drawn(agreed, seed):
    """Bins of all columns that are weighed jointly, of any sizes, and labels that depend on the first column's."""
    generator, columns = np.random.default_rng(seed), jointly(agreed, agreed.evidence)
    bins = np.stack(
        [generator.choice(each.bins, agreed.rows, p=generator.dirichlet(np.full(each.bins, 0.7))) for each in columns],
        axis=1,
    ).astype(np.int64)
    y = (generator.random(agreed.rows) < (bins[:, 0] + 0.5) / columns[0].bins).astype(np.int64)
    return bins, y


def own_bins(agreed, rank, bins):
    """A party's: those of its own entries, -1 in rows of others."""
    found = np.full_like(bins, -1)
    for place, each in enumerate(jointly(agreed, agreed.evidence)):
        for block in agreed.of(rank):
            if block.columns[0] <= each.column < block.columns[1]:
                found[block.place[0], place] = bins[block.place[0], place]
    return found


def own_labels(agreed, rank, y):
    _, labels = own(agreed, rank, np.zeros((agreed.rows, agreed.columns)), y)
    return labels


def learnt(agreed, bins, y, listener=None):
    """What each party is told and what it spent; of training nothing but the first phase's tuples is taken."""
    simulation = Simulation(agreed, **({"wire": listener.wire} if listener else {}))

    def party(runtime):
        if listener:
            listener.introduce(runtime)
        before = runtime.channel.counters.rounds, runtime.channel.counters.bytes_sent
        found = weigh(agreed, own_bins(agreed, runtime.rank, bins), own_labels(agreed, runtime.rank, y), runtime)
        after = runtime.channel.counters.rounds, runtime.channel.counters.bytes_sent
        taken(agreed, runtime)
        return found, tuple(np.subtract(after, before).tolist())

    return simulation.run(party)


def of_no_fold(agreed):
    """The rows that columns are weighed by, counted out: after one of each fold comes as many that no fold has."""
    folds = agreed.evidence.folds
    turns = cycle([*[False] * folds, *[True] * (folds or 1)])
    return np.array([next(turns) for _ in range(agreed.rows)])


def wanted(agreed, place, bins, y):
    """The ranges that a column's counts are told by: the rule, applied to the pooled table."""
    bins, y = bins[of_no_fold(agreed)], y[of_no_fold(agreed)]
    each, cell = jointly(agreed, agreed.evidence)[place], agreed.evidence.smallest_cell
    sizes = np.bincount(bins[:, place], minlength=each.bins).tolist()
    positives = np.bincount(bins[y == 1, place], minlength=each.bins).tolist()
    if len(owners_of(agreed, each.column)) == 1:
        found = [_range(bin_marks(n, cell), n, p) for n, p in zip(sizes, positives, strict=True)]
        return found, [(n - most, n - least) for n, (least, most) in zip(sizes, found, strict=True)]
    negatives = np.subtract(sizes, positives).tolist()
    m = len(y)
    return (
        [_range(marks(m, cell), m, p) for p in positives],
        [_range(mirrored(m, cell), m, q) for q in negatives],
    )


def _range(held_against, most, count):
    ends = (0, *held_against, most + 1)
    place = bisect_right(ends, count)
    return ends[place - 1], ends[place] - 1


@pytest.mark.parametrize("cell", [LEAST_CELL, 7, 10])
def test_no_count_of_a_bin_is_narrowed_below_a_cell(cell):
    """Whatever is told of a bin, the owner, who knows its rows, is left as many possible counts of either class as a
    cell has rows; of a bin of fewer than two cells it is told nothing."""
    for rows in range(150):
        ends = (0, *bin_marks(rows, cell), rows + 1)
        room = [above - below for below, above in pairwise(ends)]
        assert min(room) >= min(cell, rows + 1)
        assert (len(room) == 1) == (rows < 2 * cell - 1)


@some
@given(st.integers(LEAST_CELL, 40), st.data())
def test_marks_of_every_bin_fit(cell, data):
    """A bin has no more marks than the whole table, which is how many words are compared of each."""
    rows = data.draw(st.integers(2 * cell, 1 << 24))
    size = data.draw(st.integers(0, rows))
    assert len(bin_marks(size, cell)) <= len(marks(rows, cell))


@settings(max_examples=15)
@given(st.lists(st.integers(2, 6), min_size=1, max_size=3), st.integers(LEAST_CELL, 12), seeds)
def test_a_lone_owner_is_told_ranges_of_its_bins_counts(bins, cell, seed):
    """Of columns whose owner has no label: the ranges that the rule gives, to the owner alone, at the declared cost."""
    agreed = derived(**VERTICAL, evidence=weighed(*bins, cell=cell), max_iter=1, solver="nesterov")
    values, y = drawn(agreed, seed)
    results = learnt(agreed, values, y)
    for rank, (found, _) in enumerate(results):
        assert sorted(found) == [each.column for each in agreed.evidence.columns if each.column in agreed.held(rank)]
        for column, ranges in found.items():
            assert (list(ranges.positives), list(ranges.negatives)) == wanted(agreed, column, values, y)
            sizes = np.bincount(values[:, column], minlength=agreed.evidence.columns[column].bins)
            for n, (least, most) in zip(sizes.tolist(), ranges.positives, strict=True):
                assert most - least + 1 >= min(cell, n + 1)
    declared = [costs.weighing(agreed, rank) for rank in range(agreed.world)]
    assert [spent for _, spent in results] == [(each.rounds, each.bytes_sent) for each in declared]


@settings(max_examples=30)
@given(tilings(), st.integers(2, 4), seeds, st.integers(2, 5), st.sampled_from([0, 0, 2, 3]))
def test_any_tiling_is_weighed(tiling, bins, seed, factor, folds):
    """Columns and labels of any owners, in any rows: everybody who owns a column's rows learns the same ranges, right
    ones, of rows that no fold has, and nobody else does."""
    rows, blocks, labels = tiling
    grow = lambda span: (span[0] * factor, span[1] * factor)  # noqa: E731 - enough rows for cells
    blocks = tuple(each.model_copy(update={"rows": grow(each.rows)}) for each in blocks)
    labels = tuple(each.model_copy(update={"rows": grow(each.rows)}) for each in labels)
    assume(rows * factor >= 2 * LEAST_CELL * (2 if folds else 1) + folds)
    columns = max(block.columns[1] for block in blocks)
    evidence = weighed(*[bins] * columns, folds=folds)
    facts = {"evidence": evidence, "folds": folds, "max_iter": 1, "solver": "nesterov"}
    agreed = derived(rows * factor, blocks, labels, **facts)
    assume(jointly(agreed, evidence))
    values, y = drawn(agreed, seed)
    results = learnt(agreed, values, y)
    for rank, (found, spent) in enumerate(results):
        mine = [each.column for each in jointly(agreed, evidence) if rank in owners_of(agreed, each.column)]
        assert sorted(found) == mine
        for place, each in enumerate(jointly(agreed, evidence)):
            if each.column in found:
                ranges = found[each.column]
                assert (list(ranges.positives), list(ranges.negatives)) == wanted(agreed, place, values, y)
        declared = costs.weighing(agreed, rank)
        assert spent == (declared.rounds, declared.bytes_sent)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["newton", "nesterov", "sgd"])
@pytest.mark.parametrize("folds", [0, 2])
def test_training_goes_on_in_the_same_session(kind, solver, folds):
    """Weighing, values, moments, training, figures: rounds, bytes and requests of the whole run are those quoted."""
    changes = {"batch_rows": 8, "learning_rate": "0.1"} if solver == "sgd" else {}
    changes |= {"folds": folds, "loss_every": 3} if folds else {"loss_every": 0}
    evidence = weighed(4, 3, 2, columns=(0, 2, 5), tells_values=True, folds=folds)
    agreed = divided(kind, rows=40, solver=solver, max_iter=3, evidence=evidence, tol="0", **changes)
    asked, (X, y) = Asked(), table(agreed, 1)
    bins, _ = drawn(agreed, 2)
    simulation = Simulation(agreed, wire=asked.wire)

    def party(runtime):
        brought, labels = own(agreed, runtime.rank, X, y)
        found = weigh(agreed, own_bins(agreed, runtime.rank, bins), labels, runtime)
        values = tell_values(agreed, dict.fromkeys(range(6), 0.1234), runtime)
        joint_moments(agreed, brought, runtime)
        train(agreed, brought, labels, runtime)
        return found, values, (runtime.channel.counters.rounds, runtime.channel.counters.bytes_sent)

    results = simulation.run(party)
    rounds, sent, dealt = quoted(agreed)
    assert [spent for *_, spent in results] == [(rounds, each) for each in sent]
    assert simulation.dealing.bytes_sent == dealt
    phases = 1 + sum(message.startswith(ANNOUNCEMENT) for message in asked.messages) // agreed.world
    assert asked.requests == expected(agreed, phases)
    assert {values for _, values, _ in results} == {(0.123, 0.123, 0.123)}


def test_held_out_rows_are_no_part():
    """Bins and labels are those of the training rows; what is evaluated comes in later and is masked apart."""
    evidence = weighed(3)
    agreed = program([1, 1], rows=40, held_out_rows=20, figures=FIGURES, evidence=evidence, max_iter=1, loss_every=0)
    (X, y), (bins, _) = table(agreed, 1), drawn(agreed, 1)
    held = agreed.evaluation.partition
    generator = np.random.default_rng(5)
    others = [(generator.normal(size=(20, 2)).clip(-4, 4), np.full(20, label)) for label in (0, 1)]

    def party(rows):
        def run(runtime):
            brought, labels = own(agreed, runtime.rank, X, y)
            found = weigh(agreed, own_bins(agreed, runtime.rank, bins), labels, runtime)
            train(agreed, brought, labels, runtime, OwnRows(*own(held, runtime.rank, *rows)))
            return found

        return run

    one, other = (Simulation(agreed).run(party(rows)) for rows in others)
    assert one == other
    assert agreed.rows == 40 == len(bins)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_left_out_rows_weigh_nothing(kind):
    """What is told is the same whatever the labels of the folds' rows are, and depends on those of the others: so no
    left-out row's loss has its own label in it."""
    agreed = divided(kind, rows=80, folds=2, evidence=weighed(2, 2, 2, 2, 2, 2, folds=2))
    bins, y = drawn(agreed, 1)
    judged = ~of_no_fold(agreed)
    told_of = [learnt(agreed, bins, labels) for labels in (y, np.where(judged, 1 - y, y), np.where(judged, y, 1 - y))]
    first, other_folds, other_weighing = ([found for found, _ in each] for each in told_of)
    assert first == other_folds != other_weighing


def test_rows_of_the_folds_judge_and_all_others_train():
    """Every row of no fold trains each model; a cross-validated loss is the mean over the rows of the folds."""
    agreed = divided("vertical", rows=41, folds=3, evidence=weighed(2, folds=3))
    weigh_too, trained = weighing_rows(agreed, agreed.evidence), trains(agreed, np.arange(41))
    assert weigh_too.tolist() == of_no_fold(agreed).tolist()
    assert agreed.validating_rows == (~weigh_too).sum() == 21
    left_out = 1 - trained[:, [model.fold is not None for model in agreed.models]]
    assert left_out.sum(axis=1).tolist() == (~weigh_too).astype(int).tolist()
    totals = np.array([agreed.validating_rows << 20])
    assert mean_losses(agreed, "cross-validation", totals)[0] == 2.0 ** (20 + agreed.loss_shift - LOSS_BITS)


@pytest.mark.parametrize("kind", ["vertical", "mixed"])
def test_left_out_rows_are_judged_by_models_without_them(kind):
    """Beside weighing, the cross-validated losses are scikit-learn's of the folds' rows alone, each by a model of all
    rows but its fold's."""
    facts = {"C": ("0.01", "1.0"), "folds": 2, "max_iter": None, "evidence": weighed(3, folds=2)}
    agreed = divided(kind, rows=120, **facts)
    (X, _), (bins, y) = table(agreed, 1), drawn(agreed, 3)

    def party(runtime):
        brought, labels = own(agreed, runtime.rank, X, y)
        weigh(agreed, own_bins(agreed, runtime.rank, bins), labels, runtime)
        joint_moments(agreed, brought, runtime)
        return train(agreed, brought, labels, runtime)

    fits, fold = Simulation(agreed).run(party), np.arange(agreed.rows) % 4
    for C, told_loss in fits[0].validated.items():
        losses = []
        for left_out in (fold == 0, fold == 1):
            model = LogisticRegression(C=float(C), tol=1e-10, max_iter=20_000).fit(X[~left_out], y[~left_out])
            losses.append(log_loss(y[left_out], model.predict_proba(X[left_out])[:, 1]))
        assert abs(told_loss - np.mean(losses)) < 2e-3


def test_who_holds_all_labels_asks_nobody():
    """A column of the labels' only owner is weighed at home by the same rule, and nothing is told of it."""
    agreed = derived(**VERTICAL, evidence=weighed(3, 4, columns=(0, 3)), max_iter=1, solver="nesterov")
    assert [each.column for each in jointly(agreed, agreed.evidence)] == [0]
    told_of = [each for each in agreed.disclosures() if each.name == "weight-of-evidence"]
    assert [(each.recipients, each.values) for each in told_of] == [((0,), 3)]
    bins, y = drawn(agreed, 3)
    at_home = counted(bins[:, 0], y, 3, LEAST_CELL)
    assert (list(at_home.positives), list(at_home.negatives)) == wanted(agreed, 0, bins, y)


def test_disclosures_are_to_owners_and_named():
    """One for each set of owners, of one count a bin for a lone owner and of two where several have rows."""
    agreed = divided("mixed", rows=40, evidence=weighed(4, 3, 2, columns=(0, 2, 5), tells_values=True))
    found = [(each.name, each.recipients, each.values) for each in agreed.disclosures()][:3]
    assert found == [
        ("weight-of-evidence", (0, 1), 14),
        ("weight-of-evidence", (2,), 2),
        ("information-value", "session", 3),
    ]
    assert told(agreed, agreed.evidence) == 16
    assert compared_words(agreed, agreed.evidence) == 16 * len(marks(40, LEAST_CELL))


def test_counts_are_told_once():
    """A second time the ledger refuses, and no share of a count leaves."""
    agreed = derived(**VERTICAL, evidence=weighed(3), max_iter=1, solver="nesterov")
    ledger = ProgramLedger(agreed)
    (opening,) = [each for each in agreed.disclosures() if each.name == "weight-of-evidence"]
    from mpc.disclosure import Disclosure

    asked = Disclosure(opening.name, opening.recipients, opening.values)
    ledger.permit(asked)
    with pytest.raises(DisclosureRefused, match="weight-of-evidence"):
        ledger.permit(asked)
    with pytest.raises(DisclosureRefused):
        ProgramLedger(agreed).permit(Disclosure(opening.name, "session", opening.values))


def test_words_that_are_sent_are_uniform():
    """Of one bin for all rows and one label for all, every byte that parties send is uniform."""
    agreed = derived(**VERTICAL, evidence=weighed(6, 6), max_iter=1, solver="nesterov")
    listener = Listener()
    bins, y = np.zeros((ROWS, 2), dtype=np.int64), np.ones(ROWS, dtype=np.int64)
    learnt(agreed, bins, y, listener)
    for rank in (0, 2):
        sent = [array for name, array in listener.frames(rank)[::2] if name == "evidence" and array.size]
        assert sent
        payload = np.frombuffer(b"".join(array.tobytes() for array in sent), "u1")
        for place in range(8):
            assert chisquare(np.bincount(payload[place::8], minlength=256)).pvalue > 1e-9
    assert not [array for name, array in listener.frames(1) if name == "evidence" and array.size]


def test_what_is_sent_does_not_depend_on_data():
    """Names, order and sizes of all frames, and what the dealer is asked, are the same for any bins and labels."""
    agreed = derived(**VERTICAL, evidence=weighed(4, 3), max_iter=1, solver="nesterov")
    seen = []
    for seed in (1, 2):
        listener = Listener()
        bins, y = drawn(agreed, seed)
        learnt(agreed, bins * (seed - 1), y * (seed - 1), listener)
        requests = [[message for message in each if message.startswith(b'{"number"')] for each in listener.to_dealer()]
        seen.append((listener.trace(), requests))
    assert seen[0] == seen[1]


def test_long_columns_go_in_strips(monkeypatch):
    """Indicators are masked and sent some rows at a time: memory stays bounded, the counts are the same."""
    monkeypatch.setattr("mpc.evidence_program.STRIP_CELLS", 30)
    agreed = derived(**VERTICAL, evidence=weighed(3, 4), max_iter=1, solver="nesterov")
    assert len(list(crossings(agreed, agreed.evidence))) == 6 + 9
    bins, y = drawn(agreed, 4)
    results = learnt(agreed, bins, y)
    for column, found in results[0][0].items():
        assert (list(found.positives), list(found.negatives)) == wanted(agreed, column, bins, y)
    assert results[0][1] == (costs.weighing(agreed, 0).rounds, costs.weighing(agreed, 0).bytes_sent)


def test_many_counts_are_compared_in_parts(monkeypatch):
    """No more are compared at once than memory is declared for."""
    for module in ("mpc.counting", "mpc.requests", "mpc.costs"):
        monkeypatch.setattr(f"{module}.GUARD_SCORES", 64)
    agreed = derived(**VERTICAL, evidence=weighed(6, 6), max_iter=1, solver="nesterov")
    assert compared_words(agreed, agreed.evidence) > 64 < GUARD_SCORES
    bins, y = drawn(agreed, 4)
    results = learnt(agreed, bins, y)
    assert list(results[0][0][0].positives) == wanted(agreed, 0, bins, y)[0]
    assert results[0][1][0] == costs.weighing(agreed, 0).rounds


@pytest.mark.parametrize("bad", ["a bin too many", "none of an own entry", "one of another's", "another shape"])
def test_bins_that_are_none_are_refused_before_anything_is_sent(bad):
    """By a sentence that names no value."""
    agreed = derived(**VERTICAL, evidence=weighed(3), max_iter=1, solver="nesterov")
    bins, y = drawn(agreed, 1)

    def party(runtime):
        mine = own_bins(agreed, runtime.rank, bins)
        if bad == "a bin too many":
            mine[0] = 3
        elif bad == "none of an own entry":
            mine[0] = -1 if runtime.rank == 0 else 0
        elif bad == "one of another's":
            mine[0] = 0 if runtime.rank else -1
        else:
            mine = mine[1:]
        before = runtime.channel.counters.bytes_sent
        with pytest.raises(ProgramError, match="bins must be those of own entries"):
            weigh(agreed, mine, own_labels(agreed, runtime.rank, y), runtime)
        return runtime.channel.counters.bytes_sent - before

    assert party_by_party(agreed, party) == [0, 0, 0]


def party_by_party(agreed, party):
    """Of parties that never come to training, which the dealer takes amiss."""
    results = []
    with pytest.raises(PrivityError):
        Simulation(agreed).run(lambda runtime: results.append(party(runtime)))
    return results


BAD = {
    "classes": ({"classes": 3}, "of two classes"),
    "folds": ({"folds": 2, "C": ("0.1", "1.0")}, "weighed beside 0 folds, and 2 are left out"),
    "many folds": ({"folds": 16, "evidence": weighed(3, folds=16)}, "16 folds of 60 rows"),
    "few rows outside": ({"folds": 3, "evidence": weighed(3, cell=16, folds=3)}, "30 training rows outside the folds"),
    "cells": ({"evidence": weighed(3, cell=4)}, "a smallest cell of 4 rows"),
    "few rows": ({"evidence": weighed(3, cell=31)}, "60 training rows are less than two cells of 31"),
    "no such column": ({"evidence": weighed(3, columns=(4,))}, "not in the table"),
    "twice": ({"evidence": weighed(3, 3, columns=(1, 1))}, "stand twice"),
    "reference": ({"engine": "reference", "solver": None}, "reference engine weighs no columns"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_can_t_be_weighed_is_no_program(case):
    """Each with a sentence that says why."""
    changes, says = BAD[case]
    with pytest.raises(ProgramError, match=says):
        derived(**{**VERTICAL, "evidence": weighed(3), "max_iter": 5, "solver": "nesterov", **changes})


def test_the_dealer_is_told_sizes_alone():
    """What it is asked for are shapes that follow from the program."""
    agreed = derived(**VERTICAL, evidence=weighed(3), max_iter=1, solver="nesterov")
    first = listed(agreed).start[0]
    assert (first.kind, first.sizes, first.owners) == ("crossed", ((3, ROWS), (ROWS,)), (0, 2))
    assert [first.parts(rank) for rank in range(3)] == [[((3, ROWS), 64)], [], [((ROWS,), 64)]]

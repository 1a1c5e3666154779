"""Figures of held-out rows: right within what is declared, at the declared cost, and nothing but them is disclosed."""

import hashlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from mpc import bins, costs, evaluation
from mpc.amounts import figure_of
from mpc.design import Opening
from mpc.disclosure import ProgramLedger
from mpc.errors import MaskReuse, ProgramError, ProtocolError
from mpc.evaluation_derivation import BINS, DIGITS, LEAST_ROWS, MOST_ROWS
from mpc.evaluation_layouts import phase_of
from mpc.evaluation_program import FIGURES
from mpc.fused_program import Fused
from mpc.held_out import OwnRows, mask_held_out
from mpc.lanes import EVALUATION
from mpc.layouts import tuple_number
from mpc.partition import Partition, horizontal, labels_of, labels_with, vertical
from mpc.requests import Listed, area, clamping
from mpc.scales import SCORE_BITS
from mpc.shares import shared, words
from mpc.simulation import Simulation
from mpc.training import train
from tests.mpc.engine import few, joined, own, program, seeds, some, split, table, taken, worlds
from tests.mpc.listener import Listener
from tests.mpc.oracle import pooled, sigmoid
from tests.mpc.test_costs import narrow
from tests.mpc.test_rejections import often_rejected

UNIT = 2.0**-DIGITS
COEFFICIENTS = {4096: "71af7a7152ad0e6d", 2048: "a1c79030dfb68180", 1024: "d3bb5301ee9e047f"}
PARTITIONS = ([2, 1], [0, 2, 1], [1, 2, 0, 1], [1, 1, 1, 0, 2])


def evaluated(columns, held_out_rows=30, **changes) -> Fused:
    """A small program that evaluates."""
    return program(columns, **{"held_out_rows": held_out_rows, "figures": FIGURES, **changes})


def width(agreed):
    """Of a bin, h."""
    return agreed.evaluation.period / agreed.evaluation.bins


def bias(h):
    """Declared, of log-loss and Brier score."""
    return h**2 / 48


def chunked(agreed, chunk_rows):
    """The same with smaller chunks, so that a small table has several."""
    changed = agreed.evaluation.model_copy(update={"chunk_rows": chunk_rows})
    return agreed.model_copy(update={"evaluation": changed})


def rows_of(agreed, seed):
    """Held-out rows: columns and labels of all parties."""
    return table(agreed.model_copy(update={"rows": agreed.evaluation.rows}), seed)


class Evaluated:
    """One run: training, evaluation, and all that it showed."""

    def __init__(self, agreed, held_out=None, training=None):
        self.agreed, self.listener = agreed, Listener()
        self.X, self.y = training or table(agreed, 1)
        self.held_X, self.held_y = held_out or rows_of(agreed, 2)
        self.disclosed = [[] for _ in range(agreed.world)]
        ledgers = [ProgramLedger(agreed, seen.append) for seen in self.disclosed]
        self.simulation = Simulation(agreed, ledgers=ledgers, wire=self.listener.wire)
        self.fits = self.simulation.run(self._party)

    def _party(self, runtime):
        self.listener.introduce(runtime)
        held_out = OwnRows(*own(self.agreed.evaluation.partition, runtime.rank, self.held_X, self.held_y))
        return train(self.agreed, *own(self.agreed, runtime.rank, self.X, self.y), runtime, held_out)

    @property
    def scores(self):
        """Of the held-out rows by the disclosed model, clamped."""
        w = np.zeros(self.agreed.columns)
        for rank, fit in enumerate(self.fits):
            w[self.agreed.held(rank)] = fit.models[0].coefficients
        if self.agreed.fit_intercept:
            w = np.append(w, self.fits[self.agreed.label_owners[0]].models[0].intercept)
        held = pooled(self.agreed.model_copy(update={"rows": self.agreed.evaluation.rows}), self.held_X)
        return np.clip(held @ w, -31, 31)


def noise(h, slopes):
    """Six deviations of a mean whose rows' bins are one of two at random."""
    return 6 * h / 2 * np.sqrt((slopes**2).sum()) / slopes.size


def check_figures(run):
    """Against scikit-learn's figures of the very scores."""
    figures, z, y = run.fits[0].models[0].figures, run.scores, run.held_y
    p, h = sigmoid(z), width(run.agreed)
    assert all(fit.models[0].figures == figures for fit in run.fits)
    allowed = bias(h) + UNIT + noise(h, p - y)
    assert abs(figures["log-loss"] - log_loss(y, np.stack([1 - p, p], axis=1))) < allowed
    allowed = bias(h) + UNIT + noise(h, 2 * (p - y) * p * (1 - p))
    assert abs(figures["brier"] - brier_score_loss(y, p)) < allowed
    low, high = areas(h, z, y)
    assert low - UNIT <= figures["auc"] <= high + UNIT


def areas(h, z, y):
    """The least and the greatest AUC of scores that may each be off by a bin and tie with those of their bin."""
    apart = z[y == 1][:, None] - z[y == 0][None, :]
    return (apart > 3 * h).mean(), (apart > -3 * h).mean()


@pytest.mark.parametrize("columns", PARTITIONS, ids=len)
@pytest.mark.parametrize("fit_intercept", [True, False], ids=["intercept", "no intercept"])
@pytest.mark.parametrize("solver", ["nesterov", "newton"])
def test_figures_are_those_of_the_model(columns, fit_intercept, solver):
    """Whoever holds columns and labels, the figures are those of the disclosed model on the held-out rows."""
    changes = {"solver": solver, "max_iter": 6, "loss_every": 0}
    agreed = evaluated(columns, 90, rows=60, fit_intercept=fit_intercept, **changes)
    check_figures(Evaluated(chunked(agreed, 40)))


@pytest.mark.parametrize("figures", [("auc",), ("log-loss",), ("brier",), ("auc", "brier"), ("log-loss", "brier")])
def test_only_the_figures_asked_for_are_disclosed(figures):
    """Each figure stands alone, and what was not asked for is neither disclosed nor returned."""
    run = Evaluated(evaluated([1, 2], figures=figures))
    assert tuple(run.fits[0].models[0].figures) == figures
    for seen in run.disclosed:
        assert [each.name for each in seen if each.name in FIGURES] == list(figures)


def test_scores_beyond_the_period_are_clamped():
    """A score far outside the evaluation's range counts as the bound of its own side, and never wraps."""
    agreed = evaluated([1, 1], 40, rows=40, max_iter=12, C="100", loss_every=0)
    X, y = table(agreed, 1)
    y = (X.sum(axis=1) > 0).astype(np.int64)
    held_X, held_y = rows_of(agreed, 2)
    held_X[:, 0] = np.sign(held_X[:, 0]) * 32
    run = Evaluated(agreed, (held_X, held_y), (X, y))
    assert (np.abs(run.scores) == 31).any()
    check_figures(run)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_area(label):
    """Rows of one class have no AUC, which is said instead of a number; the other figures stand."""
    agreed = evaluated([1, 1])
    X, _ = rows_of(agreed, 2)
    run = Evaluated(agreed, (X, np.full(30, label)))
    figures, p = run.fits[0].models[0].figures, sigmoid(run.scores)
    assert figures["auc"] is None
    assert abs(figures["brier"] - np.square(p - label).mean()) < UNIT + bias(1 / 64) + noise(1 / 64, np.full(30, 0.3))


@few
@given(worlds, st.lists(st.integers(-(1 << 62) + (1 << 40), (1 << 62) - (1 << 40)), min_size=1, max_size=4), seeds)
def test_clamping_is_exact(world, z, seed):
    """Up to the bound a score stays as it is, to the last bit; beyond it is the bound of its side."""
    agreed = evaluated([1] * world)
    limit = agreed.evaluation.bound << SCORE_BITS
    z = np.array([*z, 0, limit, limit + 1, limit - 1, -limit, -limit - 1, 1 - limit], dtype=np.int64)
    shares = split(np.random.default_rng(seed), world, z)

    def party(runtime):
        taken(agreed, runtime)
        return words(evaluation.clamped(agreed.evaluation.bound, runtime.rank, shared(shares[runtime.rank])))

    simulation = Simulation(agreed, requests=Listed(phase=clamping(world, z.size)))
    assert joined(simulation.run(party)).tolist() == z.clip(-limit, limit).tolist()


def counted(agreed, z, held_out, seed=1):
    """Histograms of scores at scale 2**SCORE_BITS, joined."""
    shares = split(np.random.default_rng(seed), agreed.world, z[:, None])

    def party(runtime):
        taken(agreed, runtime)
        masked = mask_held_out(
            agreed, runtime.keys, OwnRows(*own(agreed.evaluation.partition, runtime.rank, *held_out))
        )
        evaluation.Part(agreed, runtime, 0).take("held-out")
        part = evaluation.Part(agreed, runtime, 1)
        found = evaluation.histograms_of(part, agreed.evaluation, masked, shared(shares[runtime.rank]))
        part.take("figures")
        return found.rows[0], found.positives[0]

    simulation = Simulation(agreed, requests=Listed(parts=((), ())))
    rows, positives = zip(*simulation.run(party), strict=True)
    return joined(rows), joined(positives)


def centre_of(counts, agreed):
    """What the bins' centres say of the sum of scores."""
    centres = (np.arange(agreed.evaluation.bins) + 0.5) * width(agreed) - agreed.evaluation.period / 2
    return counts @ centres


@few
@given(worlds, st.integers(LEAST_ROWS, 40), st.integers(7, 40), seeds)
def test_each_row_is_counted_near_its_score(world, rows, chunk_rows, seed):
    """Each row counts once, in a bin whose centre is less than a bin from its score, with its own label."""
    agreed = chunked(evaluated([1] * world, rows), chunk_rows)
    generator = np.random.default_rng(seed)
    z = generator.choice(np.arange(-31, 32), rows, replace=False) << SCORE_BITS  # no two in neighbouring bins
    z = (z + generator.integers(-(1 << 28), 1 << 28, rows)).clip(-31 << SCORE_BITS, 31 << SCORE_BITS)
    X, y = rows_of(agreed, seed)
    counts, positives = counted(agreed, z, (X, y), seed)
    places = np.flatnonzero(counts)
    assert counts.sum() == rows
    assert (counts[places] == 1).all()
    order = np.argsort(z)
    centres = (places + 0.5) * width(agreed) - 32
    assert (np.abs(centres - z[order] / 2.0**SCORE_BITS) < width(agreed) * 1.001).all()
    assert positives[places].tolist() == y[order].tolist()
    assert positives.sum() == y.sum()


@pytest.mark.parametrize("share_of_bin", [0.0, 0.2, 0.5, 0.9])
def test_bins_are_right_on_average(share_of_bin):
    """Wherever in its bin a score lies, the centres of the bins that it is counted in have it as their mean."""
    agreed = evaluated([1, 1, 1], 4000)
    expected = 3 + share_of_bin * width(agreed)
    z = np.full(4000, round(expected * 2**SCORE_BITS), dtype=np.int64)
    counts, _ = counted(agreed, z, rows_of(agreed, 1))
    assert np.count_nonzero(counts) <= 2
    assert abs(centre_of(counts, agreed) / 4000 - expected) < 6 * width(agreed) / 2 / np.sqrt(4000)


def quotient(world, ordered, pairs, seed):
    """The opened area, and each party's rounds and bytes."""
    agreed = evaluated([1] * world)
    generator = np.random.default_rng(seed)
    shares = [split(generator, world, np.array([value], dtype=np.int64)) for value in (ordered, pairs)]

    def party(runtime):
        taken(agreed, runtime)
        counters = runtime.channel.counters
        before = counters.rounds, counters.bytes_sent
        found = evaluation.area(runtime.rank, *(shared(each[runtime.rank]) for each in shares))
        return words(found), (counters.rounds - before[0], counters.bytes_sent - before[1])

    found, spent = zip(*Simulation(agreed, requests=Listed(phase=area(world, 1))).run(party), strict=True)
    return int(joined(found)[0]), spent


@few
@given(worlds, st.data(), seeds)
def test_the_area_is_rounded_exactly(world, data, seed):
    """The disclosed area is the quotient's nearest multiple of 2**-DIGITS, from tables of two rows to the largest."""
    pairs = data.draw(st.one_of(st.integers(1, 50), st.integers(1, (MOST_ROWS // 2) ** 2)))
    ordered = data.draw(st.one_of(st.sampled_from([0, 1, pairs, 2 * pairs]), st.integers(0, 2 * pairs)))
    found, spent = quotient(world, ordered, pairs, seed)
    assert found == int(Fraction(ordered << DIGITS, 2 * pairs) + Fraction(1, 2))
    fine = (1 << DIGITS) // evaluation.COARSE - 1
    cost = costs.comparison(world, evaluation.COARSE) + costs.product(world, 1) + costs.comparison(world, fine)
    assert spent == ((cost.rounds, cost.bytes_sent),) * world


def test_no_pair_is_no_area():
    """Without a pair the quotient is more than 1, and no figure."""
    agreed = evaluated([1, 1])
    found, _ = quotient(2, 0, 0, 1)
    assert found > 1 << DIGITS
    assert figure_of(agreed.evaluation, "auc", found) is None
    assert figure_of(agreed.evaluation, "auc", 1 << DIGITS) == 1


TERMS = {
    "log-loss": lambda z: (np.logaddexp(0, z), -z),
    "brier": lambda z: (sigmoid(z) ** 2, 1 - 2 * sigmoid(z)),
}


@pytest.mark.parametrize("figure", TERMS)
@pytest.mark.parametrize("count", BINS)
def test_coefficients_are_the_figures_terms(count, figure):
    """What a row is counted for is its term: within the declared error anywhere, exact on average over a bin."""
    h = 64 / count
    centres = (np.arange(count) + 0.5) * h - 32
    z = np.linspace(centres[1], centres[-2], (count - 3) * 64 + 1)
    for found, term in zip(bins.coefficients(64, count, figure), TERMS[figure](z), strict=True):
        apart = np.interp(z, centres, found / 2.0**bins.FIGURE_BITS) - term
        assert np.abs(apart).max() < bias(h) + 2.0**-bins.FIGURE_BITS
        assert np.abs(apart[:-1].reshape(-1, 64).mean(axis=1)).max() < 2e-6  # the fourth derivative's part


@pytest.mark.parametrize("count", BINS)
def test_coefficients_are_the_vectors(count):
    """Public integers that multiply shares are the same on every machine, bit by bit."""
    found = [each for figure in FIGURES[1:] for each in bins.coefficients(64, count, figure)]
    assert hashlib.sha256(b"".join(each.tobytes() for each in found)).hexdigest()[:16] == COEFFICIENTS[count]


@pytest.mark.parametrize(("rows", "expected"), [(20, 4096), (256, 4096), (257, 2048), (512, 2048), (513, 1024)])
def test_fewer_rows_have_finer_bins(rows, expected):
    """Where noise evens out over few rows it is smaller, and never do the bins of a chunk fill more memory."""
    found = evaluated([1, 1], rows).evaluation
    assert found.bins == expected
    assert found.bins * found.chunk_rows <= 1 << 19
    assert evaluated([1, 1], MOST_ROWS).evaluation.chunk_rows == 512


@some
@given(seeds)
def test_ranks_count_pairs(seed):
    """Positives times ranks of negatives are twice the pairs in order, ties by half."""
    generator = np.random.default_rng(seed)
    P, N = generator.integers(0, 5, (2, 12))
    places = np.arange(12)
    expected = sum(p * n * (2 if i > j else i == j) for i, p in zip(places, P) for j, n in zip(places, N))  # noqa: B905
    assert P @ bins.ranks(N) == expected


@pytest.mark.parametrize("columns", PARTITIONS, ids=len)
@pytest.mark.parametrize("figures", [FIGURES, ("auc",), ("brier",)], ids=len)
def test_a_quote_is_what_a_run_costs(columns, figures):
    """Rounds, each party's bytes and the dealer's bytes of a run with its evaluation are those quoted before it."""
    agreed = chunked(evaluated(columns, 33, figures=figures), 16)
    run = Evaluated(agreed)
    counters, quote = [channel.counters for channel in run.simulation.channels], costs.quote(agreed, [0])
    assert {each.rounds for each in counters} == {quote.rounds}
    assert tuple(each.bytes_sent for each in counters) == quote.bytes_sent
    assert run.simulation.dealing.bytes_sent == quote.dealer_bytes


@pytest.mark.parametrize("columns", PARTITIONS[:1], ids=len)
def test_stages_follow_the_schedule(columns):
    """They begin in the same order whatever the data and whatever was rejected, each once; none without its work."""
    agreed = often_rejected(columns, held_out_rows=30, figures=("auc",), max_iter=12, loss_every=4)
    runs = [Evaluated(agreed), Evaluated(agreed, (np.full((30, sum(columns)), 32.0), np.zeros(30, dtype=np.int64)))]
    assert all(run.simulation.stages == ["masking", "training", "evaluation", "results"] for run in runs)
    plain = program(columns)
    simulation = Simulation(plain)
    X, y = table(plain, 1)
    simulation.run(lambda runtime: train(plain, *own(plain, runtime.rank, X, y), runtime))
    assert simulation.stages == ["masking", "training", "results"]


def test_a_run_that_climbs_evaluates_once():
    """Whatever rungs training took, the evaluation follows it with tuples of its own, at the quoted cost."""
    agreed = narrow(evaluated([2, 1], rows=9, max_iter=33, loss_every=5, C="100"), 32)
    X, y = table(agreed, 1)
    run = Evaluated(agreed, training=(X * 8, y))
    quote = costs.quote(agreed, [0, *run.simulation.dealing._rungs])
    assert len(run.simulation.dealing._rungs) >= len(agreed.segments)
    assert run.simulation.channels[0].counters.rounds == quote.rounds
    assert run.simulation.dealing.bytes_sent == quote.dealer_bytes
    check_figures(run)


@pytest.mark.parametrize("columns", PARTITIONS[:2], ids=len)
def test_the_dealer_receives_the_same_whatever_the_rows_are(columns):
    """Messages to the dealer, and the sizes of its own, depend neither on data nor on what training rejected."""
    changes = {"held_out_rows": 30, "figures": FIGURES, "max_iter": 12, "loss_every": 4}
    agreed = chunked(often_rejected(columns, **changes), 16)
    extreme = np.full((30, sum(columns)), 32.0), np.zeros(30, dtype=np.int64)
    runs = [Evaluated(agreed), Evaluated(agreed, extreme), Evaluated(agreed, rows_of(agreed, 9))]
    first, *rest = [(run.listener.to_dealer(), run.listener.from_dealer(), run.listener.trace()) for run in runs]
    assert all(other == first for other in rest)
    assert all(messages.count(EVALUATION) == 2 for messages in first[0])


@pytest.mark.parametrize("solver", ["newton", "nesterov", "sgd"])
def test_rows_of_several_owners_are_evaluated(solver):
    """Where parties own rows, the figures are of all parties' held-out rows, at the quoted costs."""
    blocks, others = horizontal([30, 20, 40], 3), horizontal([20, 25, 15], 3)
    held_out = Partition(rows=60, blocks=others, labels=labels_with(others))
    batches = {"batch_rows": 30, "learning_rate": "0.2"} if solver == "sgd" else {}
    changes = {"rows": 90, "blocks": blocks, "labels": labels_with(blocks), "held_out": held_out, **batches}
    run = Evaluated(evaluated([3], None, label_owner=0, solver=solver, max_iter=8, loss_every=0, **changes))
    check_figures(run)
    quote = costs.quote(run.agreed)
    for rank, channel in enumerate(run.simulation.channels):
        moments = costs.joint_moments(run.agreed, rank)  # which these columns did without
        assert channel.counters.bytes_sent == quote.bytes_sent[rank] - moments.bytes_sent
    assert run.simulation.dealing.bytes_sent == quote.dealer_bytes


def test_held_out_rows_have_the_same_owners():
    """A column's held-out entries are its owners' of the training rows: else what of coefficients?"""
    blocks = vertical(30, [1, 2])
    with pytest.raises(ProgramError, match="other owners"):
        evaluated([2, 1], None, held_out=Partition(rows=30, blocks=blocks, labels=labels_of(30, 0)))


def test_no_opened_word_comes_twice():
    """Rows, labels, weights, scores and histograms are opened under fresh masks: equal runs share no word."""
    agreed = evaluated([2, 1])
    names = ("held-out", "held-out weights", "held-out scores", "histograms")
    runs = [Evaluated(agreed) for _ in range(2)]
    for name in names[1:]:
        opened = np.concatenate([np.concatenate(run.listener.opened(name)).reshape(-1) for run in runs])
        assert len(set(opened.tolist())) > 0.99 * opened.size, name
        assert abs((opened > 0).mean() - 0.5) < 6 / np.sqrt(opened.size), name
    sent = [
        array for run in runs for rank in range(2) for name, array in run.listener.frames(rank) if name == "held-out"
    ]
    everything = np.concatenate([each.reshape(-1) for each in sent])
    assert len(set(everything.tolist())) == everything.size


def test_plain_rows_and_labels_travel_nowhere():
    """Neither an encoded row nor a column of labels is in anything that a party sends, to peers or to the dealer."""
    run = Evaluated(evaluated([2, 2]))
    payloads = run.listener.payloads()
    for column in run.held_X.T:
        row = np.rint(column[:2] * 2**13).astype("<i8").tobytes()
        assert not any(row in payload for payload in payloads)
    assert not any(run.held_y.astype("<i8").tobytes() in payload for payload in payloads)


def test_a_program_names_its_figures():
    """The figures asked for are disclosed to the session once, a number each, and nothing else of the held-out rows."""
    plain, agreed = program([1, 1]), evaluated([1, 1])
    added = [each for each in agreed.disclosures() if each not in plain.disclosures()]
    assert added == [Opening(name=name, recipients="session", count=1, values=1) for name in FIGURES]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"held_out_rows": 0}, "held-out rows"),
        ({"held_out_rows": LEAST_ROWS - 1}, "held-out rows"),
        ({"held_out_rows": MOST_ROWS + 1}, "held-out rows"),
        ({"held_out_rows": 1 << 23, "columns": [30, 30]}, "cells"),
        ({"figures": ("brier", "auc")}, "out of order"),
        ({"figures": ("auc", "auc")}, "twice"),
        ({"engine": "reference"}, "reference engine"),
    ],
)
def test_what_can_t_be_evaluated_is_refused(changes, says):
    """Too few rows to hide one in, too many for the ring, figures in another order: no program."""
    with pytest.raises(ProgramError, match=says):
        evaluated(**{"columns": [1, 1], **changes})


def test_nothing_is_evaluated_unless_a_figure_is_asked_for():
    """Held-out rows alone change nothing in a program."""
    assert program([1, 1], held_out_rows=30) == program([1, 1])


BAD = {
    "none": lambda _: None,
    "too few rows": lambda held: OwnRows(held.block[1:], held.labels),
    "too large": lambda held: OwnRows(held.block + 40, held.labels),
    "other labels": lambda held: OwnRows(held.block, 2 * np.ones(30, dtype=np.int64)),
    "no labels": lambda held: OwnRows(held.block, None),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_refused(case):
    """Held-out rows that are not as the program says end the run at their owner."""
    agreed = evaluated([1, 1])
    held = rows_of(agreed, 2)

    def party(runtime):
        brought = OwnRows(*own(agreed, runtime.rank, *held))
        mine = BAD[case](brought) if runtime.rank == 1 else brought
        return train(agreed, *own(agreed, runtime.rank, *table(agreed, 1)), runtime, mine)

    with pytest.raises(ProgramError):
        Simulation(agreed).run(party)


def test_rows_without_an_evaluation_are_refused():
    """A program that evaluates nothing takes no held-out rows."""
    agreed = program([1, 1])
    with pytest.raises(ProgramError, match="nowhere else"):
        Simulation(agreed).run(
            lambda runtime: train(
                agreed, *own(agreed, runtime.rank, *table(agreed, 1)), runtime, OwnRows(np.zeros((30, 1)), None)
            )
        )


@pytest.mark.parametrize(("agreed", "times"), [(program([1, 1]), 1), (evaluated([1, 1]), 3)], ids=["none", "a third"])
@pytest.mark.parametrize("modified", [False, True])
def test_another_part_is_refused(agreed, times, modified):
    """An evaluation, or a part of one, that the program does not have is not announced, and would end the session."""
    parts = ((),) * (times - 1)

    def party(runtime):
        taken(agreed, runtime)
        for part in range(times):
            if modified and part == times - 1:
                runtime.provider._dealer.send(EVALUATION)
            else:
                runtime.provider.announce_evaluation()
            if part < times - 1:
                _take_all(agreed, runtime, part)
        runtime.channel.exchange("never", {}, {1 - runtime.rank: ("i8", (1,))})

    with pytest.raises(
        ProtocolError, match=r"party \d announced an eval" if modified else "this party announced an ev"
    ):
        Simulation(agreed, requests=Listed(parts=parts)).run(party)


def _take_all(agreed, runtime, part):
    from mpc import evaluation_layouts

    for place, kind in enumerate(evaluation_layouts.parts(agreed)[part]):
        number = tuple_number(phase_of(agreed, part), place)
        runtime.provider.ahead(number, evaluation_layouts.layout(agreed, kind))


def test_a_part_s_tuples_are_taken_once():
    """A tuple of the evaluation that is asked for again is refused before anything is opened under its masks."""
    agreed = evaluated([1, 1])

    def party(runtime):
        taken(agreed, runtime)
        evaluation.Part(agreed, runtime, 0).take("held-out")
        again = evaluation.Part(agreed, runtime, 0)
        again.take("held-out")

    with pytest.raises(MaskReuse):
        Simulation(agreed, requests=Listed(parts=((), ()))).run(party)


def test_nothing_of_the_rows_is_printed():
    """Held-out rows, their view at a party and the dealer's masks do not print."""
    brought = OwnRows(np.full((2, 1), 12345.0), np.array([0, 1]))
    histograms = evaluation.Histograms(np.full(2, 12345), np.full(2, 12345))
    assert "12345" not in repr(brought) + repr(histograms)

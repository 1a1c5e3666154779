"""Mini-batch descent: floating point's steps on the same batches, in an order that nobody chose, at declared costs."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.channel import MemoryChannel
from mpc.errors import ProgramError, ProtocolError, RangeExceeded
from mpc.fused_program import Segment
from mpc.lanes import ORDER
from mpc.layouts import items
from mpc.ordering import agreed_seed, order
from mpc.partition import horizontal, labels_with
from mpc.randomness import Entropy
from mpc.scales import DATA_BITS, ITERATE_BITS
from mpc.shares import shared, words
from mpc.solvers import Stochastic
from tests.contracts.channel_suite import everyone
from tests.mpc.engine import fit, joined, program, seeds, some, split, table, uniform, unsigned, worlds
from tests.mpc.observed import Observed
from tests.mpc.oracle import pooled, sigmoid
from tests.mpc.test_costs import counted, narrow, quoted
from tests.mpc.test_fused import weights

LOSS_ERROR = 2e-4  # of a mean, of weights that rounding has moved
NOISE = 1e-3  # of a weight after a thousand steps, against the same steps in floating point


def batches(columns=(3, 2), **changes):
    """A small program of mini-batches."""
    facts = {"solver": "sgd", "rows": 100, "batch_rows": 16, "learning_rate": "0.1", "max_iter": 60, "loss_every": 0}
    return program(list(columns), **{**facts, **changes})


class Descent(Observed):
    """One run, and what a listener inside of its channels knows of it: the rows' order and the void slots."""

    @property
    def order(self):
        parts = [dict(self.listener.frames(rank))["contribution"].tobytes() for rank in range(self.agreed.world)]
        return order(hashlib.sha256(b"".join(parts)).digest(), self.agreed.rows)

    @property
    def rejected(self):
        return self.void(weights=self.agreed.state_window, residuals=self.agreed.residual_window)

    def expected(self):
        """The same steps in floating point."""
        return self.ends()[-1]

    def losses(self):
        """The mean loss of the whole table when each guard looks at it."""
        z = pooled(self.agreed, self.X) @ np.array(self.ends()).T
        return (np.logaddexp(0, z) - self.y[:, None] * z).mean(axis=0)

    def labels(self, model):
        """1 in the rows of the class that a model tells from the rest."""
        return self.y if self.agreed.classes == 1 else self.y == model.label

    def validated(self):
        """Of each C, the mean loss of every row, over all classes, by the models that did not see it, at the end."""
        found = dict.fromkeys(self.agreed.grid, 0.0)
        X, rows = pooled(self.agreed, self.X), np.arange(self.agreed.rows)
        for place, model in enumerate(self.agreed.models):
            if model.fold is not None:
                y, left_out = self.labels(model), rows % self.agreed.folds == model.fold
                z = X[left_out] @ self.ends(place)[-1]
                found[model.C] += (np.logaddexp(0, z) - y[left_out] * z).sum()
        return {C: total / (self.agreed.rows * self.agreed.classes) for C, total in found.items()}

    def ends(self, place=0):
        """Weights at the end of each segment: batch after batch, those of void slots and of a fold left out."""
        agreed, scale, model = self.agreed, 2.0**self.agreed.state_bits, self.agreed.models[place]
        X, y = pooled(agreed, self.X)[self.order], self.labels(model)[self.order]
        trains = np.ones(agreed.rows) if model.fold is None else self.order % agreed.folds != model.fold
        rate = model.residual_unit / 2.0**agreed.residual_shift * 2.0**DATA_BITS / scale
        penalty = model.ridge * 2.0**ITERATE_BITS / scale
        w, done, void, found = np.zeros(agreed.width), 0, iter(self.rejected), []
        for phase, segment in enumerate(agreed.segments, 1):
            end = done + segment.iterations
            for slot in range(segment.slots):
                rows = (agreed.batch_start(phase, slot) + np.arange(agreed.batch_rows)) % agreed.rows
                if next(void) or done == end:
                    continue
                step = rate * X[rows].T @ ((sigmoid(X[rows] @ w) - y[rows]) * trains[rows])
                if (done + 1) % model.ridge_every == 0:
                    step[: agreed.columns] += penalty * w[: agreed.columns]
                w, done = w - step, done + 1
            found.append(w)
        assert done == agreed.max_iter
        return found


@pytest.mark.parametrize("columns", [(3, 2), (2, 0, 3), (2, 0, 1, 2), (1, 1, 1, 1, 1)], ids=len)
@pytest.mark.parametrize("fit_intercept", [True, False], ids=["intercept", "no intercept"])
def test_training_is_stochastic_descent(columns, fit_intercept):
    """Whoever holds the columns and the labels, the model is floating point's after the same steps."""
    run = Descent(batches(columns, fit_intercept=fit_intercept))
    assert np.abs(weights(run.agreed, run.fits) - run.expected()).max() < NOISE


@pytest.mark.parametrize(
    "changes",
    [
        {"max_iter": 1000, "rows": 500, "batch_rows": 32, "C": "0.05"},
        {"max_iter": 1000, "rows": 90, "batch_rows": 37, "learning_rate": "0.01", "C": "1.0"},
        {"max_iter": 1000, "rows": 200, "batch_rows": 200, "learning_rate": "0.5", "C": "100"},
        {"max_iter": 300, "rows": 40, "batch_rows": 2, "learning_rate": "0.02", "C": "10"},
    ],
    ids=lambda changes: f"{changes['rows']} by {changes['batch_rows']}",
)
def test_a_thousand_steps_stay_together(changes):
    """After so many steps the weights are within a thousandth of floating point's, whatever batches and rate."""
    run = Descent(batches((4, 3), **changes))
    assert np.abs(weights(run.agreed, run.fits) - run.expected()).max() < NOISE


def test_columns_of_zeros_have_no_weight():
    """A column without any value does no harm to the steps of the others."""
    agreed = batches((2, 2))
    X, y = table(agreed, 1)
    X[:, [1, 3]] = 0
    run = Descent(agreed, training=(X, y))
    found = weights(agreed, run.fits)
    assert (found[[1, 3]] == 0).all()
    assert np.abs(found - run.expected()).max() < NOISE


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("fit_intercept", [True, False], ids=["intercept", "no intercept"])
def test_labels_of_one_class_are_learnt(label, fit_intercept):
    """Where all rows are of one class, the model is floating point's after the same steps."""
    agreed = batches((2, 1), fit_intercept=fit_intercept, max_iter=200, loss_every=1)
    run = Descent(agreed, training=(table(agreed, 1)[0], np.full(agreed.rows, label)))
    assert np.abs(weights(agreed, run.fits) - run.expected()).max() < NOISE
    assert np.abs(run.fits[0].models[0].losses - run.losses()).max() < LOSS_ERROR


def test_rows_of_several_owners_are_mixed():
    """Where parties own rows, a batch has rows of all, and the model is floating point's on the same batches."""
    agreed = batches(blocks=horizontal([40, 60], 3), labels=labels_with(horizontal([40, 60], 3)))
    run = Descent(agreed)
    assert (
        np.abs(np.append(run.fits[0].models[0].coefficients, run.fits[0].models[0].intercept) - run.expected()).max()
        < NOISE
    )
    assert (run.fits[0].models[0].coefficients == run.fits[1].models[0].coefficients).all()


def test_the_rate_and_the_penalty_are_those_of_the_plan():
    """The integers of a program stand for the learning rate and for C, to twelve bits and as far as a run can tell."""
    for rows, batch, rate, C, max_iter in [
        (1000, 32, 0.01, 1.0, 3125),
        (569, 50, 0.1, 0.01, 500),
        (64, 64, 1.0, 1, 40),
    ]:
        agreed = batches(rows=rows, batch_rows=batch, learning_rate=str(rate), C=str(C), max_iter=max_iter)
        scale = 2.0**agreed.state_bits
        met = agreed.models[0].residual_unit / 2.0**agreed.residual_shift * 2.0**DATA_BITS / scale * batch
        assert abs(met / rate - 1) < 2**-12
        shrinks = agreed.models[0].ridge * 2.0**ITERATE_BITS / scale / agreed.models[0].ridge_every
        assert abs(shrinks - rate / (C * rows)) * max_iter < 2**-11


def test_a_strong_penalty_does_not_throw_the_weights_about():
    """Of many models, too, each is met in steps small enough that the last one is where the others are."""
    grid = {"C": ("0.01", "0.1"), "folds": 4, "classes": 3, "loss_every": 15}
    agreed = batches((4, 4), rows=134, batch_rows=32, learning_rate="0.1", max_iter=400, **grid)
    for model in agreed.models:
        at_once = model.ridge * 2.0 ** (ITERATE_BITS - agreed.state_bits)
        assert model.ridge_every == 1 or at_once < 2**-7
        rows = 134 - (0 if model.fold is None else len(range(model.fold, 134, 4)))
        assert abs(at_once / model.ridge_every * float(model.C) * rows / 0.1 - 1) < 2**-11


@some
@given(worlds, seeds, st.integers(0, 70), st.booleans())
def test_a_step_is_the_integers(world, seed, iteration, fit_intercept):
    """Over all parties, a step on shares is the integers' modulo 2**64, with the penalty of that many steps."""
    agreed = batches([1] * world, fit_intercept=fit_intercept, C="0.5", max_iter=100)
    generator = np.random.default_rng(seed)
    ahead, gradient, here = uniform(generator, (3, agreed.width, 1))
    zero = np.zeros((agreed.width, 1), dtype=np.int64)
    parts = [split(generator, world, each) for each in (ahead, gradient, here)]
    moved = [
        Stochastic(agreed, iteration, parts[0][rank], zero, zero).stepped(
            shared(parts[1][rank]), shared(parts[2][rank])
        )
        for rank in range(world)
    ]
    due = (iteration + 1) % agreed.models[0].ridge_every == 0
    ridge = agreed.models[0].ridge
    penalty = [w * ridge if due and at < agreed.columns else 0 for at, w in enumerate(unsigned(here))]
    steps = zip(unsigned(ahead), unsigned(gradient), penalty, strict=True)
    expected = [(a - g - p) % 2**64 for a, g, p in steps]
    assert unsigned(joined([words(each.iterate()) for each in moved])) == expected


@pytest.mark.parametrize("columns", [(3, 2), (2, 0, 3), (1, 1, 1, 1, 1)], ids=len)
@pytest.mark.parametrize("fit_intercept", [True, False], ids=["intercept", "no intercept"])
def test_losses_are_those_of_the_whole_table(columns, fit_intercept):
    """Each time that the guard looks, all are told the mean loss of all rows, not of a batch."""
    run = Descent(batches(columns, fit_intercept=fit_intercept, loss_every=1))
    assert len(run.losses()) == len(run.agreed.segments) > 1
    for each in run.fits:
        assert np.abs(each.models[0].losses - run.losses()).max() < LOSS_ERROR


def test_losses_of_rows_of_several_owners():
    """Where parties own rows, which batches mix, each label counts for its own row."""
    tiles = horizontal([40, 25, 35], 3)
    run = Descent(batches(blocks=tiles, labels=labels_with(tiles), loss_every=1))
    assert np.abs(run.fits[1].models[0].losses - run.losses()).max() < LOSS_ERROR


def test_losses_of_several_models():
    """Each has its own, of its own weights."""
    run = Descent(batches((2, 1), C=("0.1", "100"), loss_every=1))
    z = [pooled(run.agreed, run.X) @ weights(run.agreed, run.fits, number) for number in range(2)]
    found = [(np.logaddexp(0, each) - run.y * each).mean() for each in z]
    assert np.abs([each.losses[-1] for each in run.fits[0].models] - np.array(found)).max() < LOSS_ERROR


GRID = ("0.02", "0.3", "30")


@pytest.mark.parametrize(
    ("columns", "fit_intercept"),
    [((3, 2), True), ((2, 0, 3), False), ((2, 0, 1, 2), True), ((1, 1, 1, 1, 1), True)],
    ids=str,
)
def test_folds_are_left_out_of_every_batch(columns, fit_intercept):
    """Each C's loss of left-out rows is that of floating point's steps without them; the model of the least is told."""
    asked = {"C": GRID, "folds": 3, "loss_every": 1, "fit_intercept": fit_intercept}
    run = Descent(batches(columns, **asked))
    expected = run.validated()
    for each in run.fits:
        assert each.validated == pytest.approx(expected, abs=LOSS_ERROR)
        assert [model.C for model in each.models] == [min(expected, key=expected.get)]
    best = GRID.index(run.fits[0].models[0].C)
    assert np.abs(weights(run.agreed, run.fits) - run.ends(best)[-1]).max() < NOISE


def test_folds_go_through_batches_of_several_owners_and_strips():
    """Whoever owns a row, and in whichever strip its loss is counted, it is of the fold that it was masked in."""
    tiles = horizontal([40, 25, 35], 3)
    asked = {"blocks": tiles, "labels": labels_with(tiles), "C": GRID, "folds": 4, "loss_every": 1}
    run = Descent(batches(**asked).model_copy(update={"strip_rows": 13}))
    assert run.fits[1].validated == pytest.approx(run.validated(), abs=LOSS_ERROR)


def test_classes_have_folds_in_batches():
    """A C's loss is of all classes, whose models are all told for the best C."""
    agreed = batches((2, 2), classes=3, C=("0.01", "10"), folds=2, loss_every=1)
    X, _ = table(agreed, 3)
    y = np.argmax(X[:, :3] + np.random.default_rng(4).gumbel(size=(agreed.rows, 3)), axis=1).astype(np.int64)
    run = Descent(agreed, training=(X, y))
    assert run.fits[0].validated == pytest.approx(run.validated(), abs=LOSS_ERROR)
    assert [model.label for model in run.fits[0].models] == [0, 1, 2]


@pytest.mark.parametrize("folds", [2, 3, 7])
def test_a_fold_s_model_takes_the_steps_of_its_own_rows(folds):
    """Rate and penalty of a model are those of a run on its rows alone, of as large a part of them in each batch."""
    agreed, rate, batch = batches(rows=101, C="0.5", folds=folds, loss_every=1), 0.1, 16
    scale = 2.0**agreed.state_bits
    for model in agreed.models:
        rows = sum(model.fold is None or place % folds != model.fold for place in range(101))
        met = model.residual_unit / 2.0**agreed.residual_shift * 2.0**DATA_BITS / scale
        assert abs(met / (rate / (batch * rows / 101)) - 1) < 2**-12
        shrinks = model.ridge * 2.0**ITERATE_BITS / scale / model.ridge_every
        assert abs(shrinks - rate / (0.5 * rows)) * agreed.max_iter < 2**-11


MANY = {"C": GRID, "folds": 2}


@pytest.mark.parametrize("columns", [(2, 1), (0, 2, 1), (1, 2, 0, 1)], ids=len)
@pytest.mark.parametrize("classes", [1, 3])
def test_folds_of_batches_cost_what_is_quoted(columns, classes):
    """Rounds are those of one model and two for a second transcript and share; all is quoted to the byte."""
    agreed, one = (batches(columns, max_iter=40, loss_every=1, **more) for more in ({**MANY, "classes": classes}, {}))
    assert counted(agreed, *table(agreed, 1)) == ([0] * len(agreed.segments), quoted(agreed))
    found, alone = (quoted(each)[0] - 3 * sum(part.slots for part in each.segments) for each in (agreed, one))
    assert found == alone + 2 * len(agreed.segments)


def test_a_climb_forgets_validations():
    """Where a segment is repeated on the next rung, what it told of left-out rows does not count."""
    agreed = narrow(batches((2, 1), C=("1", "100"), folds=2, learning_rate="0.3", max_iter=90, loss_every=1), 26)
    X, y = table(agreed, 1)
    rungs, found = counted(agreed, X * 8, y)
    assert len(rungs) > len(agreed.segments)
    assert found == quoted(agreed, rungs)


def test_losses_come_from_many_strips():
    """A table of several strips of tables has the loss of all its rows."""
    run = Descent(batches((2, 1), loss_every=1).model_copy(update={"strip_rows": 13}))
    assert run.agreed.strips > 7
    assert np.abs(run.fits[0].models[0].losses - run.losses()).max() < LOSS_ERROR


def test_a_program_names_its_losses():
    """A segment's end has one, once more for each rung that may be climbed; without a loss nothing else is opened."""
    agreed, silent = batches((2, 1), loss_every=7), batches((2, 1))
    (added,) = [each for each in agreed.disclosures() if each not in silent.disclosures()]
    assert (added.name, added.recipients, added.values) == ("loss", "session", 1)
    assert added.count == len(agreed.segments) + len(agreed.ladder) - 1
    assert agreed.loss_every == agreed.segments[0].iterations
    assert batches((2, 1), loss_every=agreed.loss_every) == agreed


@pytest.mark.parametrize("columns", [(2, 1), (0, 2, 1), (1, 2, 0, 1)], ids=len)
@pytest.mark.parametrize("max_iter", [3, 40])
@pytest.mark.parametrize("loss_every", [0, 1], ids=["no loss", "loss"])
def test_a_quote_is_what_a_run_costs(columns, max_iter, loss_every):
    """Rounds and bytes of a whole run are those quoted before it."""
    agreed = batches(columns, max_iter=max_iter, loss_every=loss_every)
    assert counted(agreed, *table(agreed, 1)) == ([0] * len(agreed.segments), quoted(agreed))


def test_a_climb_repeats_a_segment():
    """Scores beyond the first period send the run to the next rung, at the quoted costs."""
    agreed = narrow(batches((2, 1), C="100", learning_rate="0.3", max_iter=90, loss_every=1), 26)
    X, y = table(agreed, 1)
    rungs, found = counted(agreed, X * 8, y)
    assert len(rungs) > len(agreed.segments)
    assert found == quoted(agreed, rungs)


def test_separable_data_end_in_an_error():
    """Where scores leave the widest period, there is an error and no model."""
    agreed = narrow(batches((2, 1), C="100000", learning_rate="5", max_iter=90), 22, 24, 26)
    X, y = table(agreed, 1)
    with pytest.raises(RangeExceeded):
        fit(agreed, X * 8, y)


RUNS = 3


@pytest.fixture(scope="module")
def often_void():
    """Runs whose windows are so wide that many slots are rejected."""
    agreed = batches((2, 1), rows=12, batch_rows=4, max_iter=33, loss_every=1)
    slots = 130 // agreed.lot * agreed.lot  # enough, however many are rejected
    segments = tuple(Segment(iterations=each.iterations, slots=slots) for each in agreed.segments)
    wide = {"state_window": 61, "residual_window": 60, "copies": 120, "segments": segments}
    return [Descent(agreed.model_copy(update=wide)) for _ in range(RUNS)]


def test_void_slots_change_nothing_but_the_batches(often_void):
    """Whatever is rejected, the model is that of as many steps, on the batches of the slots that were not."""
    assert len({tuple(run.rejected) for run in often_void}) == RUNS
    for run in often_void:
        assert any(run.rejected[: run.agreed.segments[0].iterations])
        assert np.abs(weights(run.agreed, run.fits) - run.expected()).max() < NOISE
        assert np.abs(run.fits[0].models[0].losses - run.losses()).max() < 2 * NOISE


def test_nobody_outside_learns_which_slots_are_void(often_void):
    """Whatever is rejected: the same bytes to the dealer, the same sizes from it and between parties."""
    first, *rest = [run.listener for run in often_void]
    for other in rest:
        assert without_order(other) == without_order(first)
        assert other.from_dealer() == first.from_dealer()
        assert other.trace() == first.trace()


def test_the_gateway_is_told_the_same(often_void):
    """Whatever is rejected: the same progress, and at the end the same numbers of openings, words, rounds and bytes."""
    first, *rest = [(run.progress, run.account) for run in often_void]
    assert len(first[0]) > 33
    assert all(openings > 10 for openings, *_ in first[1])
    assert all(other == first for other in rest)


def without_order(listener):
    """What each party told the dealer after the keys, but for the order of the rows, which is random."""
    first, *_ = listener.to_dealer()
    assert first[0].startswith(ORDER)
    assert all(messages[0] == first[0] for messages in listener.to_dealer())
    return [messages[1:] for messages in listener.to_dealer()]


def test_no_mask_is_used_twice(often_void):
    """No opened word of any slot comes again, in void ones or others."""
    for run in often_void:
        opened = np.concatenate([np.concatenate(run.listener.opened(name)) for name in ("weights", "residuals")])
        assert np.unique(opened).size == opened.size


def test_every_row_is_used_as_often():
    """Batches go round the table: after rows / gcd batches each row had the same number of turns."""
    agreed = batches(rows=90, batch_rows=37)
    starts = [agreed.batch_start(1, slot) for slot in range(90)]
    turns = np.bincount(np.concatenate([(start + np.arange(37)) % 90 for start in starts]), minlength=90)
    assert set(turns.tolist()) == {37}


@pytest.mark.parametrize("world", [2, 3, 5])
def test_an_order_is_everybody_s(world):
    """All parties have the same permutation of all rows, another each time, for two rounds."""
    channels = MemoryChannel.mesh(world)
    first, second = (
        everyone(channels, lambda channel: order(agreed_seed(channel, Entropy()), 50).tolist()) for _ in range(2)
    )
    assert all(each == first[0] for each in first)
    assert sorted(first[0]) == list(range(50))
    assert first[0] != second[0]
    assert [channel.counters.rounds for channel in channels] == [4] * world


@pytest.mark.parametrize(
    ("seed", "rows", "begins", "digest"),
    [
        (bytes(32), 10, [8, 4, 5, 7, 9], "9e13aacac1638e7e0466fa56bfae0aaf666853eee2f6f8641bf9fcdb72241abb"),
        (
            bytes(range(32)),
            1000,
            [466, 841, 675, 74, 30],
            "2e5190bb1e3666d68ff5770308f51dda2b02de9e60981d78ffdc383788ea76e8",
        ),
        (
            b"\xff" * 32,
            65537,
            [31431, 56670, 47780, 8838, 63775],
            "f742901b093e6a0b5c8a68f57acddc3d95e015068cb0bbfc70e6f89aebc25581",
        ),
    ],
    ids=["zeros", "bytes", "ones"],
)
def test_the_order_of_a_seed_stays(seed, rows, begins, digest):
    """Parties, dealer and replay of any version make the same order of a seed; the digest is of 64-bit words."""
    found = order(seed, rows)
    assert found[:5].tolist() == begins
    assert hashlib.sha256(found.astype("<i8").tobytes()).hexdigest() == digest


def test_a_party_can_t_choose_the_order():
    """One that tells another part than it had committed to is found out by every peer."""

    class Late:
        """A channel of a party that changes its part after it heard the others'."""

        def __init__(self, channel):
            self.rank, self.world, self._channel = channel.rank, channel.world, channel

        def exchange(self, name, outgoing, expecting):
            if name == "contribution":
                outgoing = {peer: np.roll(sent, 1) for peer, sent in outgoing.items()}
            return self._channel.exchange(name, outgoing, expecting)

    def party(channel):
        if channel.rank == 1:
            return agreed_seed(Late(channel), Entropy())
        with pytest.raises(ProtocolError, match="party 1 chose its part"):
            agreed_seed(channel, Entropy())
        return None

    everyone(MemoryChannel.mesh(3), party)


WIDE = {"columns": (5000, 0), "classes": 6, "C": tuple(f"{each / 10_000}" for each in range(3, 19)), "batch_rows": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_rows": None}, "batch of None"),
        ({"batch_rows": 1}, "batch of 1"),
        ({"batch_rows": 101}, "batch of 101 of 100"),
        ({"learning_rate": None}, "learning_rate"),
        ({"learning_rate": "0"}, "outside"),
        ({"learning_rate": "-1"}, "outside"),
        ({"learning_rate": "11"}, "outside"),
        ({"learning_rate": "nan"}, "not finite"),
        ({"learning_rate": "fast"}, "not a decimal"),
        ({"learning_rate": "0.000000001"}, "too few bits"),
        (WIDE | {"learning_rate": "0.01", "max_iter": 31}, "penalty of C=0.0017 can't be met over 100 rows in 31"),
        ({"solver": "nesterov"}, "sgd alone"),
        ({"solver": "newton"}, "sgd alone"),
    ],
    ids=str,
)
def test_what_can_t_be_computed_is_refused(changes, message):
    """Each with its reason."""
    with pytest.raises(ProgramError, match=message):
        batches(**changes)


def test_lots_fill_their_segments():
    """A phase is lots and a checkpoint; together they have the segment's slots."""
    agreed = batches(max_iter=200)
    assert agreed.lot > 1
    for segment in agreed.segments:
        *lots, last = items(agreed, segment)
        assert set(lots) == {"lot"}
        assert last == "checkpoint"
        assert len(lots) * agreed.lot == segment.slots >= segment.iterations

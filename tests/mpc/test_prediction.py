"""Predictions: one party is told probabilities of new rows by a model in shares, as floating point has them."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc import prediction_costs
from mpc.disclosure import Disclosure, ProgramLedger
from mpc.errors import DisclosureRefused, ProgramError, ProtocolError
from mpc.lanes import EVALUATION
from mpc.partition import vertical
from mpc.prediction import predict
from mpc.prediction_program import DIGITS, Prediction, PredictionSpec, derive_prediction
from mpc.scales import DATA_BITS, ITERATE_BITS
from mpc.simulation import Simulation
from tests.mpc.engine import few, fit, joined, program, seeds, split, table
from tests.mpc.listener import Listener
from tests.mpc.oracle import sigmoid, standardised
from tests.mpc.tilings import mixed, windmill

SIGMOID = 3e-5  # what is stated of the sigmoid and its tables
UNIT = 2.0**-DIGITS
PROGRAM = "5fe5ab8de62a0410"


def specified(columns=(1, 1), rows=10, **changes) -> PredictionSpec:
    """New rows of parties with so many columns each, unless blocks say otherwise."""
    divided = {"parties": len(columns), "blocks": vertical(rows, columns)}
    return PredictionSpec(rows=rows, **divided | {"fit_intercept": True, "clip_bits": 5, "recipient": 0} | changes)


def agreed(columns, rows=20, **changes) -> Prediction:
    """A prediction of parties with so many columns each; strips are short where `strip_rows` says so."""
    strip_rows = changes.pop("strip_rows", None)
    found = derive_prediction(specified(columns, rows, **changes))
    return found if strip_rows is None else found.model_copy(update={"strip_rows": strip_rows})


class Predicted:
    """A run while somebody listens on every wire, and what the recipient was told."""

    def __init__(self, program, X, shares, **options):
        self.program, self.X, self.listener = program, X, Listener()
        self.told, self.strips = {}, []
        self._shares = shares
        self.simulation = Simulation(program, wire=self.listener.wire, **options)
        self.simulation.run(self._party)

    def _party(self, runtime):
        self.listener.introduce(runtime)
        told = np.full((self.program.rows, self.program.classes), np.nan)

        def tell(rows, probabilities):
            self.told[runtime.rank] = told
            self.strips.append(rows)
            told[rows] = probabilities

        predict(self.program, mine(self.program, runtime.rank, self.X), self._shares[runtime.rank], runtime, tell)


def mine(program, rank, X):
    """A party's columns, zero in rows of others."""
    brought = np.zeros_like(X)
    for block in program.of(rank):
        brought[block.place] = X[block.place]
    return brought[:, program.held(rank)]


def rounded(X, bits):
    return np.rint(X * 2.0**bits) / 2.0**bits


def made_up(agreed, seed=1, spread=1.0):
    """Rows, weights as the parties round them, and shares of these."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(agreed.rows, agreed.columns)).clip(-32, 32)
    w = rounded(generator.normal(size=(agreed.width, agreed.classes)) * spread, ITERATE_BITS)
    return X, w, split(generator, agreed.world, np.rint(w * 2.0**ITERATE_BITS).astype(np.int64))


def expected(agreed, X, w):
    constant = np.ones((agreed.rows, agreed.width - agreed.columns))
    return sigmoid(np.concatenate([rounded(X, DATA_BITS), constant], axis=1) @ w)


@few
@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=5).filter(any),
    st.integers(1, 23),
    st.booleans(),
    st.integers(1, 9),
    st.sampled_from([1, 3, 5]),
    st.data(),
)
def test_probabilities_are_floating_point_s(columns, rows, fit_intercept, strip_rows, classes, data):
    """Whatever the parties, rows, strips and classes are, the recipient alone is told each probability, once."""
    recipient = data.draw(st.integers(0, len(columns) - 1))
    asked = {"fit_intercept": fit_intercept, "recipient": recipient, "strip_rows": strip_rows, "classes": classes}
    found = agreed(columns, rows, **asked)
    X, w, shares = made_up(found, data.draw(seeds))
    run = Predicted(found, X, shares)
    assert list(run.told) == [recipient]
    assert run.strips == list(found.strips)
    assert np.abs(run.told[recipient] - expected(found, X, w)).max() < UNIT + SIGMOID


@pytest.mark.parametrize("division", [mixed, windmill])
@pytest.mark.parametrize("fit_intercept", [True, False], ids=["intercept", "no intercept"])
def test_rows_in_blocks_are_scored_at_the_quoted_cost(division, fit_intercept):
    """Whoever holds which rows of which columns, the recipient is told each probability, and costs are as declared."""
    blocks, _ = division(23, 5)
    found = agreed([0] * 4, 23, blocks=blocks, fit_intercept=fit_intercept, recipient=2, strip_rows=9, classes=3)
    X, w, shares = made_up(found)
    run = Predicted(found, X, shares)
    assert list(run.told) == [2]
    assert np.abs(run.told[2] - expected(found, X, w)).max() < UNIT + SIGMOID
    quoted = prediction_costs.quote(found)
    counters = [channel.counters for channel in run.simulation.channels]
    assert {each.rounds for each in counters} == {quoted.rounds}
    assert tuple(each.bytes_sent for each in counters) == quoted.bytes_sent
    assert run.simulation.dealing.bytes_sent == quoted.dealer_bytes


def test_scores_far_out_are_certain():
    """Scores beyond the period, either way, are clamped: their probabilities are 0 and 1, never another turn's."""
    found = agreed([1, 1], rows=400, fit_intercept=False)
    z = np.linspace(-640, 640, 400)
    X = np.stack([z / 64, z / 64], axis=1)
    W = np.full((2, 1), 32 << ITERATE_BITS)
    run = Predicted(found, X, split(np.random.default_rng(1), 2, W))
    true = sigmoid(rounded(X, DATA_BITS).sum(axis=1) * 32)
    assert np.abs(run.told[0][:, 0] - true).max() < UNIT + SIGMOID
    assert run.told[0].min() >= 0
    assert run.told[0].max() <= 1


def test_rounding_has_no_bias():
    """Rounded at random, probabilities are right on average: of many rows, far beyond the last digit."""
    found = agreed([1, 1], rows=20_000)
    X, w, shares = made_up(found)
    apart = Predicted(found, X, shares).told[0] - expected(found, X, w)
    assert abs(apart.mean()) < 5 * UNIT / 2 / np.sqrt(found.rows) + SIGMOID / 10


def test_a_trained_model_predicts_as_scikit_learn_does():
    """What a training leaves in shares scores rows that it never saw as the pooled optimum does."""
    from sklearn.linear_model import LogisticRegression

    X, y = standardised("breast cancer")
    training, new = slice(0, 400), slice(400, None)
    trained = program([10, 10, 10], rows=400, solver="newton", max_iter=15, loss_every=0)
    fits, _ = fit(trained, X[training], y[training])
    found = agreed([10, 10, 10], rows=len(X) - 400, recipient=2)
    told = Predicted(found, X[new], [each.share for each in fits]).told[2][:, 0]
    best = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(X[training], y[training])
    assert np.abs(told - best.predict_proba(X[new])[:, 1]).max() < 2e-3


@pytest.mark.parametrize("columns", [[2, 1], [1, 0, 2]], ids=len)
def test_kept_shares_are_the_model_and_fresh(columns):
    """Shares that a training leaves add up to what it disclosed; of two equal trainings no word is the same."""
    trained = program(columns, rows=30, max_iter=8, loss_every=0)
    X, y = table(trained, 3)
    runs = [fit(trained, X, y)[0] for _ in range(2)]
    for fits in runs:
        weights = joined([each.share[:, 0] for each in fits]) / 2.0**ITERATE_BITS
        for rank, each in enumerate(fits):
            assert weights[trained.held(rank)] == pytest.approx(each.models[0].coefficients, abs=1e-12)
    words = np.concatenate([each.share[:, 0] for fits in runs for each in fits])
    assert len(set(words.tolist())) == words.size
    assert "share" not in repr(runs[0][0])


@pytest.mark.parametrize("columns", [[2, 1], [2, 0, 1], [1, 0, 2, 1], [1, 0, 1, 1, 2]], ids=len)
@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (9, 1), (20, 1), (20, 3)])
def test_a_quote_is_what_a_run_costs(columns, rows, classes):
    """Rounds, each party's bytes and the dealer's, whoever is told, and with a last strip of fewer rows."""
    found = agreed(columns, rows, recipient=len(columns) - 1, strip_rows=8, classes=classes)
    X, _, shares = made_up(found)
    run, quote = Predicted(found, X, shares), prediction_costs.quote(found)
    counters = [channel.counters for channel in run.simulation.channels]
    assert {each.rounds for each in counters} == {quote.rounds}
    assert tuple(each.bytes_sent for each in counters) == quote.bytes_sent
    assert run.simulation.dealing.bytes_sent == quote.dealer_bytes


@pytest.mark.parametrize("columns", [[2, 1], [1, 0, 2]], ids=len)
def test_messages_tell_nothing_of_rows_or_model(columns):
    """What the dealer receives is the same byte by byte, what it and the parties send the same in sizes and order."""
    found = agreed(columns, strip_rows=8)
    X, _, shares = made_up(found)
    extreme = split(np.random.default_rng(5), found.world, np.full((found.width, 1), 63 << ITERATE_BITS))
    runs = [Predicted(found, X, shares), Predicted(found, np.full_like(X, 32.0), extreme), Predicted(found, -X, shares)]
    first, *rest = [(run.listener.to_dealer(), run.listener.from_dealer(), run.listener.trace()) for run in runs]
    assert all(other == first for other in rest)
    assert all(messages.count(EVALUATION) == 2 for messages in first[0])


def test_no_opened_word_comes_twice():
    """Rows, model, scores and probabilities are opened under fresh masks: equal runs share no word of them."""
    found = agreed([2, 1], rows=200)
    X, _, shares = made_up(found)
    runs = [Predicted(found, X, shares) for _ in range(2)]
    for name in ("model", "scores", "probabilities"):
        opened = np.concatenate([np.concatenate(run.listener.opened(name)).reshape(-1) for run in runs])
        assert len(set(opened.tolist())) > 0.99 * opened.size, name
        assert abs((opened > 0).mean() - 0.5) < 6 / np.sqrt(opened.size) + 0.01, name
    sent = [
        array.reshape(-1)
        for run in runs
        for rank in range(2)
        for name, array in run.listener.frames(rank)
        if name in {"table", "disclosure"}
    ]
    everything = np.concatenate(sent)
    assert len(set(everything.tolist())) == everything.size


def test_shares_of_a_disclosure_go_to_the_recipient_alone():
    """The others send their shares to it and nothing else of them to anybody; it sends none."""
    found = agreed([1, 1, 1], recipient=1)
    X, _, shares = made_up(found)
    run = Predicted(found, X, shares)
    counts = [sum(name == "disclosure" for name, _ in run.listener.frames(rank)) for rank in range(3)]
    assert counts == [1, 0, 1]


def test_plain_rows_travel_nowhere():
    """No encoded row, weight or probability is in anything that is sent."""
    found = agreed([2, 2])
    X, w, shares = made_up(found)
    run = Predicted(found, X, shares)
    payloads = run.listener.payloads()
    needles = [np.rint(column[:2] * 2**DATA_BITS) for column in X.T]
    needles += [np.rint(w[:2] * 2**ITERATE_BITS), np.rint(run.told[0][:2] * 2**DIGITS)]
    for needle in needles:
        assert not any(needle.astype("<i8").tobytes() in payload for payload in payloads)


def test_only_what_the_program_names_is_disclosed():
    """Probabilities to the recipient, so many a time and so often: anything else is refused before it leaves."""
    found = agreed([1, 1], rows=20, strip_rows=8)
    assert [(item.name, item.recipients, item.count, item.values) for item in found.disclosures()] == [
        ("probabilities", (0,), 3, 8)
    ]
    for refused in (
        Disclosure("probabilities", (1,), 8),
        Disclosure("probabilities", "session", 8),
        Disclosure("probabilities", (0,), 9),
        Disclosure("coefficients", (0,), 1),
    ):
        with pytest.raises(DisclosureRefused):
            ProgramLedger(found).permit(refused)


def test_a_strip_of_several_classes_is_disclosed_whole():
    """Each class has its probability of each row."""
    (told,) = agreed([1, 1], rows=20, strip_rows=8, classes=3).disclosures()
    assert (told.count, told.values) == (3, 24)


def test_a_refused_disclosure_ends_the_run():
    """If a node does not record, its share stays, and the recipient is told nothing."""

    class Refuses:
        def permit(self, disclosure):
            raise DisclosureRefused("not recorded")

    found = agreed([1, 1])
    X, _, shares = made_up(found)
    told = []
    simulation = Simulation(found, ledgers=[ProgramLedger(found), Refuses()])
    with pytest.raises(DisclosureRefused):
        simulation.run(
            lambda runtime: predict(
                found, X[:, found.held(runtime.rank)], shares[runtime.rank], runtime, lambda *_: told.append(1)
            )
        )
    assert not told


BAD = {
    "no rows": ({"rows": 0}, "a row and a feature column"),
    "no columns": ({"columns": (0, 0)}, "a row and a feature column"),
    "too many cells": ({"rows": 1 << 27, "columns": (4, 4)}, "more than"),
    "no such recipient": ({"recipient": 2}, "none of the 2 parties"),
    "no such owner": ({"parties": 2, "columns": (1, 1, 1)}, "none of the 2 parties"),
    "a hole": ({"blocks": vertical(9, (1, 1))}, "in no party's block"),
    "a wide clip": ({"clip_bits": 9}, "clip_bits=9"),
    "two classes": ({"classes": 2}, "2 classes"),
    "too many columns": ({"rows": 1, "columns": (1 << 20, 1 << 20)}, "leave the ring"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_can_t_be_predicted_is_refused(case):
    """Each says what is wrong, before there is a program."""
    changes, what = BAD[case]
    with pytest.raises(ProgramError, match=what):
        derive_prediction(specified(**changes))


def test_values_in_rows_of_others_are_refused():
    """A row must not count for two parties."""
    found = agreed([0] * 3, blocks=mixed(20, 2)[0])
    X, _, shares = made_up(found)
    columns = [found.held(rank) for rank in range(3)]
    with pytest.raises(ProgramError, match="another party's"):
        Simulation(found).run(
            lambda runtime: predict(found, X[:, columns[runtime.rank]], shares[runtime.rank], runtime)
        )


@pytest.mark.parametrize("what", ["rows", "bound", "weights"])
def test_what_the_program_does_not_say_is_refused(what):
    """Another table or another model than the contract's is refused before anything is sent."""
    found = agreed([1, 1])
    X, _, shares = made_up(found)
    if what == "rows":
        X = X[:-1]
    elif what == "bound":
        X = X + 40.0
    else:
        shares = [share[:-1] for share in shares]
    simulation = Simulation(found)
    with pytest.raises(ProgramError):
        simulation.run(lambda runtime: predict(found, X[:, found.held(runtime.rank)], shares[runtime.rank], runtime))
    assert all(channel.counters.rounds == 1 for channel in simulation.channels)  # the keys'


def test_a_third_part_is_refused():
    """A party that announces more than a prediction has ends the session for all."""
    found = agreed([1, 1])

    def party(runtime):
        for _ in range(3):
            runtime.provider._dealer.send(EVALUATION)
            runtime.provider._dealer.receive()

    with pytest.raises(ProtocolError):
        Simulation(found).run(party)


def test_the_program_is_the_vector():
    """A program's every number is the same on every machine."""
    content = agreed([2, 0, 1], rows=70_000, recipient=2).model_dump_json()
    assert hashlib.sha256(content.encode()).hexdigest()[:16] == PROGRAM


def test_memory_grows_with_rows_by_their_table_alone():
    """Beyond a table and a few words a row, what a strip or a comparison takes is bounded."""
    few_rows, many = (prediction_costs.memory(agreed([20, 20], rows)) for rows in (1 << 18, 1 << 20))
    a_row = (many - few_rows) / (3 << 18)
    assert a_row == 8 * (2 * 41 + 24)

"""CrypTen on our transport, dealer and randomness: right results, nothing opened that has no name."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from mpc.communicator import ChannelCommunicator
from mpc.disclosure import Disclosure, ProgramLedger
from mpc.errors import DisclosureRefused, EngineError, ProgramError
from mpc.partition import labels_of, vertical
from mpc.program import Program, derive
from mpc.requests import Listed, Request, comparison
from mpc.shim import ArithmeticSharedTensor, crypten
from mpc.simulation import Simulation
from mpc.specification import Spec
from mpc.training import train

BITS = 14


def program(world, rows=40, columns=2, max_iter=1, **changes) -> Program:
    spec = {
        "engine": "reference",
        "rows": rows,
        "blocks": vertical(rows, [columns] * world),
        "labels": labels_of(rows, world - 1),
        "C": "1.0",
        "fit_intercept": True,
        "max_iter": max_iter,
        "loss_every": 0,
        "clip_bits": 5,
    }
    return derive(Spec(**{**spec, **changes}))


def opened(tensor):
    with ChannelCommunicator.get().masked():  # a test's own look inside
        return tensor.get_plain_text().numpy()


def shared(values, owner, runtime):
    tensor = torch.from_numpy(values) if runtime.rank == owner else None
    return ArithmeticSharedTensor(tensor, size=values.shape, precision=BITS, src=owner)


@pytest.mark.parametrize("world", [2, 3, 4])
def test_a_product_is_the_product(world):
    """A matrix product of two parties' secrets equals the plaintext one, within truncation."""
    generator = np.random.default_rng(world)
    X, w = generator.normal(size=(20, 7)), generator.normal(size=(7, 3))

    def party(runtime):
        return opened(shared(X, 0, runtime).matmul(shared(w, world - 1, runtime)))

    product = Request("triple", (X.shape, w.shape), "matmul")
    requests = Listed(start=(product, *[Request("wraps", ((20, 3),))] * (world > 2)))
    for result in Simulation(program(world), requests=requests).run(party):
        assert np.abs(result - X @ w).max() < 8 * 7 / (1 << BITS)


@pytest.mark.parametrize("world", [2, 3])
def test_comparisons_are_exact(world):
    """The sign of a secret comes out right, with the cost that CrypTen's circuit has."""
    from mpc.reference import _wrap

    values = np.linspace(-20, 20, 41)

    def party(runtime):
        return opened(_wrap(shared(values, 0, runtime))._ltz()._tensor)

    requests = Listed(start=comparison(world, values.shape))
    for result in Simulation(program(world), requests=requests).run(party):
        assert (result == (values < 0)).all()


@pytest.mark.parametrize("how", ["reveal", "get_plain_text", "to_one", "gather", "broadcast", "object"])
def test_nothing_is_opened_without_a_name(how):
    """Each of CrypTen's ways out is refused at every party, and no byte leaves."""

    def party(runtime):
        tensor = shared(np.ones((2, 2)), 0, runtime)
        before = runtime.channel.counters.bytes_sent
        communicator = crypten.communicator.get()
        ways = {
            "reveal": tensor.reveal,
            "get_plain_text": tensor.get_plain_text,
            "to_one": lambda: tensor.get_plain_text(dst=0),
            "gather": lambda: communicator.gather(tensor.share, 0),
            "broadcast": lambda: communicator.broadcast(tensor.share, 0),
            "object": lambda: communicator.broadcast_obj(tensor.share, 0),
        }
        with pytest.raises(EngineError):
            ways[how]()
        return runtime.channel.counters.bytes_sent - before

    assert Simulation(program(2)).run(party) == [0, 0]


@pytest.mark.parametrize(
    "asked",
    [
        Disclosure("gradient", (0,), 2),
        Disclosure("coefficients", (0,), 3),
        Disclosure("coefficients", "session", 2),
        Disclosure("intercept", (0,), 1),
    ],
)
def test_a_ledger_refuses_what_the_program_does_not_name(asked):
    """Another name, another recipient or more values than agreed: refused before anything leaves."""
    with pytest.raises(DisclosureRefused):
        ProgramLedger(program(2)).permit(asked)


def test_a_disclosure_happens_once():
    """A second copy of a result is refused."""
    ledger = ProgramLedger(program(2))
    ledger.permit(Disclosure("coefficients", (0,), 2))
    with pytest.raises(DisclosureRefused):
        ledger.permit(Disclosure("coefficients", (0,), 2))


def test_a_result_goes_to_its_recipient_alone():
    """Others of a disclosure receive nothing of it."""

    def party(runtime):
        share = np.full(2, 1 + runtime.rank, dtype=np.int64)
        return runtime.discloser.open(Disclosure("coefficients", (1,), 2), share)

    results = Simulation(program(3)).run(party)
    assert results[0] is None
    assert results[2] is None
    assert (results[1] == 6).all()


@pytest.mark.parametrize("world", [2, 3])
def test_training_follows_scikit_learn(world):
    """Coefficients, intercept and loss approach those of scikit-learn on the pooled table."""
    generator = np.random.default_rng(7)
    X = generator.normal(size=(200, 2 * world))
    y = (X @ generator.normal(size=2 * world) + generator.normal(size=200) > 0.3).astype(np.int64)
    X = (X - X.mean(0)) / X.std(0)
    agreed = program(world, rows=200, max_iter=40, loss_every=20)

    def party(runtime):
        columns = slice(2 * runtime.rank, 2 * runtime.rank + 2)
        return train(agreed, X[:, columns], y if runtime.rank == world - 1 else None, runtime)

    fits = Simulation(agreed).run(party)
    pooled = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(X, y)
    coefficients = np.concatenate([fit.models[0].coefficients for fit in fits])
    assert np.abs(coefficients - pooled.coef_[0]).max() < 0.1
    assert abs(fits[-1].models[0].intercept - pooled.intercept_[0]) < 0.1
    assert fits[0].models[0].intercept is None
    assert len(fits[0].models[0].losses) == 2
    assert abs(fits[0].models[0].losses[0] - np.log(2)) < 4e-3  # what sigmoid_and_softplus states
    assert fits[0].models[0].losses[1] < fits[0].models[0].losses[0]
    assert fits[0].models[0].losses == fits[-1].models[0].losses


def test_a_block_beyond_its_bound_is_refused_before_anything_is_sent():
    """The program's bounds hold for what the owner brings, or the run does not begin."""

    def party(runtime):
        with pytest.raises(ProgramError, match="bound"):
            train(runtime.program, np.full((40, 2), 33.0), np.zeros(40, np.int64) if runtime.rank else None, runtime)
        return runtime.channel.counters.sent_by_name.get("open", 0)

    assert Simulation(program(2)).run(party) == [0, 0]

"""Declared costs are what channels and dealer count, exactly: kernel by kernel and for whole runs."""

from contextlib import nullcontext

import numpy as np
import pytest

from mpc import costs
from mpc.costs import quote
from mpc.design import Opening
from mpc.disclosure import Disclosure
from mpc.errors import RangeExceeded
from mpc.frames import HEADER_BYTES
from mpc.lanes import ANNOUNCEMENT
from mpc.layouts import items, layout, opening_items
from mpc.reference import _wrap
from mpc.requests import Listed, comparison
from mpc.shares import shared
from mpc.simulation import Simulation, Wire
from mpc.training import train
from tests.mpc.engine import own, program, session, table, taken

PARTITIONS = ([2, 1], [2, 0, 1], [1, 0, 2, 1], [1, 0, 1, 1, 2])


def counted(agreed, X, y, *, fails=False):
    """Train. Returns the rungs of all phases, as the dealer was told, and what was counted in the form of a quote."""
    told = []
    simulation = Simulation(agreed, wire=Wire(to_dealer=told.append))

    def party(runtime):
        with pytest.raises(RangeExceeded) if fails else nullcontext():
            train(agreed, *own(agreed, runtime.rank, X, y), runtime)

    simulation.run(party)
    counters = [channel.counters for channel in simulation.channels]
    assert len({each.rounds for each in counters}) == 1
    assert sum(each.bytes_sent for each in counters) == sum(each.bytes_received for each in counters)
    rungs = sorted(message[-1] for message in told if message.startswith(ANNOUNCEMENT))
    found = counters[0].rounds, tuple(each.bytes_sent for each in counters), simulation.dealing.bytes_sent
    return [0, *rungs[:: agreed.world]], found


def quoted(agreed, rungs=None):
    """A quote without memory."""
    found = quote(agreed, rungs)
    return found.rounds, found.bytes_sent, found.dealer_bytes


@pytest.mark.parametrize("columns", PARTITIONS, ids=len)
@pytest.mark.parametrize("fit_intercept", [True, False], ids=["intercept", "no intercept"])
@pytest.mark.parametrize("loss_every", [0, 2], ids=["no loss", "loss"])
def test_a_quote_is_what_a_run_costs(columns, fit_intercept, loss_every):
    """Rounds, each party's bytes and the dealer's bytes of a whole run are those quoted before it."""
    agreed = program(columns, rows=9, max_iter=5, fit_intercept=fit_intercept, loss_every=loss_every, label_owner=1)
    assert counted(agreed, *table(agreed, 1)) == ([0], quoted(agreed))


def narrow(agreed, *periods):
    """The program with shorter periods: what it then computes is within range for smaller scores."""
    ladder = [rung.model_copy(update={"period": period}) for rung, period in zip(agreed.ladder, periods, strict=False)]
    return agreed.model_copy(update={"ladder": (*ladder, *agreed.ladder[len(ladder) :])})


@pytest.mark.parametrize("columns", PARTITIONS[:2], ids=len)
def test_a_quote_follows_the_rungs(columns):
    """A run that climbs the ladder costs what is quoted for its rungs."""
    agreed = narrow(program(columns, rows=9, max_iter=33, loss_every=5, C="100"), 32)
    X, y = table(agreed, 1)
    rungs, found = counted(agreed, X * 8, y)
    assert len(rungs) > len(agreed.segments)
    assert found == quoted(agreed, rungs)


@pytest.mark.parametrize("world", [2, 3, 4, 5])
@pytest.mark.parametrize("words", [1, 3, 20])
def test_a_comparison_costs_what_is_declared(world, words):
    """CrypTen's comparison, at every number of parties, with what the dealer answers for it."""
    agreed = program([1] * world)
    simulation = Simulation(agreed, requests=Listed(phase=comparison(world, (words,))))

    def party(runtime):
        taken(agreed, runtime)
        counters = runtime.channel.counters
        before = counters.rounds, counters.bytes_sent
        _wrap(shared(np.arange(words, dtype=np.int64) - 1))._ltz()
        return counters.rounds - before[0], counters.bytes_sent - before[1]

    cost = costs.comparison(world, words)
    assert simulation.run(party) == [(cost.rounds, cost.bytes_sent)] * world
    assert simulation.dealing.bytes_sent == cost.dealer_bytes + ahead(agreed)


def ahead(agreed):
    """What the dealer sends in a first phase whatever happens: keys and corrections."""
    kinds = [*opening_items(agreed), *items(agreed, agreed.segments[0])]
    corrections = sum(8 * layout(agreed, agreed.ladder[0], kind).words for kind in kinds)
    return corrections + agreed.world * costs.DEALER_KEYS_BYTES


@pytest.mark.parametrize("recipients", ["session", (0,), (1,), (0, 2)], ids=str)
def test_a_disclosure_costs_what_is_declared(recipients):
    """Two rounds; shares travel to recipients alone."""
    agreed = program([1, 1, 1], loss_every=0)
    item = Opening(name="figure", recipients=recipients, count=1, values=4)

    class Open:
        def permit(self, disclosure):
            assert disclosure.name == "figure"

        def told(self, disclosure, opened):
            assert opened.shape == (4,)

    simulation = Simulation(agreed, ledgers=[Open()] * 3)

    def party(runtime):
        taken(agreed, runtime)
        counters = runtime.channel.counters
        before = counters.rounds, counters.bytes_sent
        runtime.discloser.open(Disclosure("figure", recipients, 4), np.zeros(4, dtype=np.int64))
        return counters.rounds - before[0], counters.bytes_sent - before[1]

    expected = [costs.disclosure(3, rank, item) for rank in range(3)]
    assert simulation.run(party) == [(cost.rounds, cost.bytes_sent) for cost in expected]


@pytest.mark.parametrize("columns", PARTITIONS, ids=len)
def test_the_start_costs_what_is_declared(columns):
    """Keys and masked blocks, for owners of few, many and no columns, with the labels' totals or without."""
    for loss_every in (0, 1):
        agreed = program(columns, loss_every=loss_every)
        _, simulation = session(agreed, *table(agreed, 1), lambda *_: None)
        totals = costs.opening(agreed.world, costs.WORD * agreed.width) * loss_every  # opened later than a session here
        for channel in simulation.channels:
            cost = costs.start(agreed, channel.rank)
            assert channel.counters.rounds == cost.rounds - totals.rounds
            assert channel.counters.bytes_sent == cost.bytes_sent - totals.bytes_sent


@pytest.mark.parametrize("columns", PARTITIONS[:2], ids=len)
def test_each_opening_costs_what_is_declared(columns):
    """By name: the three openings of a slot, copies of reports and checkpoints, the totals of the labels."""
    agreed = program(columns, rows=9, max_iter=5, loss_every=2)
    simulation = Simulation(agreed)
    X, y = table(agreed, 1)
    simulation.run(lambda runtime: train(agreed, *own(agreed, runtime.rank, X, y), runtime))
    (segment,), peers = agreed.segments, agreed.world - 1
    payloads = {
        "weights": (segment.slots, 8 * agreed.width),
        "scores": (segment.slots, 4 * agreed.rows),
        "residuals": (segment.slots, 8 * agreed.rows),
        "loss": (2, 8 * agreed.copies),
        "checkpoint": (1, 8 * agreed.copies * agreed.width),
        "labels": (1, 8 * agreed.width),
    }
    for channel in simulation.channels:
        found = channel.counters.sent_by_name
        for name, (times, payload) in payloads.items():
            assert found[name] == times * peers * (HEADER_BYTES + payload), name


def test_a_run_that_climbs_in_vain_costs_what_is_quoted():
    """If even the last rung is too narrow, all rungs' phases were run, and no result is disclosed."""
    agreed = narrow(program([1, 1], rows=9, max_iter=2, loss_every=0, C="100"), 32, 32, 32)
    agreed = agreed.model_copy(update={"clip_bits": 10})
    X, y = np.full((9, 2), 1e3), np.ones(9, dtype=np.int64)
    rungs, (rounds, sent, dealt) = counted(agreed, X, y, fails=True)
    results = [costs.results(agreed, rank) for rank in range(2)]
    assert rungs == [0, 1, 2]
    assert quoted(agreed, rungs) == (
        rounds + results[0].rounds,
        tuple(each + result.bytes_sent for each, result in zip(sent, results, strict=True)),
        dealt,
    )

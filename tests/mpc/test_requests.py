"""What real runs ask the dealer for on demand is, request by request, what the program lists; nothing else is dealt."""

import json
import re
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc import requests
from mpc.channel import MemoryChannel
from mpc.disclosure import ProgramLedger
from mpc.errors import MaskReuse, PeerLost, PrivityError, ProtocolError, RangeExceeded
from mpc.evaluation_program import FIGURES
from mpc.fused_program import Fused
from mpc.guard import any_beyond
from mpc.held_out import OwnRows
from mpc.lanes import ANNOUNCEMENT, GOODBYE
from mpc.requests import Listed, Request, counts, listed
from mpc.runtime import Runtime
from mpc.scales import GUARD_SCORES
from mpc.shares import shared
from mpc.simulation import Simulation, Wire
from mpc.training import train
from tests.contracts.channel_suite import everyone
from tests.mpc import test_prediction, test_reference
from tests.mpc.engine import few, own, program, some, table, taken
from tests.mpc.test_costs import narrow
from tests.mpc.test_dealing import Dealt
from tests.mpc.test_keys import DIGEST

REQUEST = b'{"number"'


class Asked:
    """What parties tell the dealer, in the order of numbers."""

    def __init__(self):
        self.messages = []
        self.wire = Wire(to_dealer=self.messages.append)

    @property
    def requests(self):
        found = sorted(
            map(json.loads, (message for message in self.messages if message.startswith(REQUEST))), key=_number
        )
        assert [each["number"] for each in found] == list(range(len(found)))
        return [
            Request(each["kind"], tuple(map(tuple, each["sizes"])), each["op"], tuple(each["owners"])) for each in found
        ]

    def phases(self, world):
        return 1 + sum(message.startswith(ANNOUNCEMENT) for message in self.messages) // world


def _number(request):
    return request["number"]


def expected(agreed, phases=0):
    """The list of a whole run of so many phases."""
    found = listed(agreed)
    return [*found.start, *found.phase * phases, *found.training, *chain(*found.parts)]


def trained(agreed, X, y):
    asked = Asked()

    def party(runtime):
        held_out = None
        if isinstance(agreed, Fused) and agreed.evaluation is not None:
            held_out = OwnRows(*own(agreed.evaluation.partition, runtime.rank, *table(_held(agreed), 2)))
        return train(agreed, *own(agreed, runtime.rank, X, y), runtime, held_out)

    Simulation(agreed, wire=asked.wire).run(party)
    return asked


def _held(agreed):
    return agreed.model_copy(update={"rows": agreed.evaluation.rows})


BATCHES = {"solver": "sgd", "batch_rows": 4, "learning_rate": "0.1", "loss_every": 0}
RUNS = {
    "nesterov": {},
    "nesterov of two segments": {"max_iter": 40},
    "newton": {"solver": "newton", "max_iter": 8},
    "mini-batches": BATCHES,
    "convergence": {"tol": "0.1", "max_iter": 4},
    "figures": {"held_out_rows": 30, "figures": FIGURES},
    "figures without an area": {"held_out_rows": 25, "figures": ("log-loss", "brier")},
    "a grid": {"C": ("0.5", "2.0"), "held_out_rows": 20, "figures": ("auc",)},
    "folds": {
        "folds": 3,
        "C": ("0.5", "2.0"),
        "loss_every": 3,
        "tol": "auto",
        "held_out_rows": 20,
        "figures": ("auc", "brier"),
    },
    "classes": {
        "classes": 3,
        "solver": "newton",
        "max_iter": 6,
        "tol": "auto",
        "held_out_rows": 20,
        "figures": ("auc", "roc"),
    },
    "newton with all": {
        "solver": "newton",
        "max_iter": 20,
        "tol": "auto",
        "held_out_rows": 21,
        "figures": FIGURES,
    },
}


@pytest.mark.parametrize("columns", [[2, 1], [1, 0, 2], [1, 1, 1, 0]], ids=len)
@pytest.mark.parametrize("run", RUNS)
def test_a_run_asks_for_what_is_listed(columns, run):
    """Whatever the solver, the number of models and the disclosures, at two to four parties."""
    agreed = program(columns, **{"rows": 20, "max_iter": 3, "loss_every": 0, **RUNS[run]})
    asked = trained(agreed, *table(agreed, 1))
    phases = asked.phases(agreed.world)
    assert phases >= len(agreed.segments)
    assert asked.requests == expected(agreed, phases)


@pytest.mark.parametrize("columns", [[2, 1], [2, 0, 1]], ids=len)
def test_a_run_that_climbs_asks_again(columns):
    """Each phase that a guard's hit adds is guarded by the same requests again."""
    agreed = narrow(program(columns, rows=9, max_iter=33, loss_every=5, C="100", tol="0.1"), 32)
    X, y = table(agreed, 1)
    asked = trained(agreed, X * 8, y)
    phases = asked.phases(agreed.world)
    assert phases > len(agreed.segments)
    assert asked.requests == expected(agreed, phases)


def test_a_run_that_climbs_in_vain_asks_no_more():
    """After the last rung's guard nothing follows."""
    agreed = narrow(program([1, 1], rows=9, max_iter=2, loss_every=0, C="100", tol="0.1"), 32, 32, 32)
    agreed = agreed.model_copy(update={"clip_bits": 10})
    asked = Asked()

    def party(runtime):
        with pytest.raises(RangeExceeded):
            train(agreed, *own(agreed, runtime.rank, np.full((9, 2), 1e3), np.ones(9, dtype=np.int64)), runtime)

    Simulation(agreed, wire=asked.wire).run(party)
    assert asked.requests == list(listed(agreed).phase) * 3


def test_many_scores_are_guarded_piece_by_piece():
    """A long table's scores are compared in pieces, of which the last is shorter."""
    agreed, scores, asked = test_reference.program(2), GUARD_SCORES + 3, Asked()
    found = requests.any_beyond(2, scores)
    assert {request.sizes[-1][-1] for request in found} == {2 * GUARD_SCORES, 6, 1}
    simulation = Simulation(agreed, wire=asked.wire, requests=Listed(start=found))
    simulation.run(lambda _: any_beyond(shared(np.zeros(scores, dtype=np.int64)), 1))
    assert asked.requests == list(found)


@pytest.mark.parametrize("columns", [[1, 1], [2, 0, 1], [1, 1, 1, 0]], ids=len)
def test_a_prediction_asks_for_what_is_listed(columns):
    """Scores are clamped, and nothing else is asked for."""
    found = test_prediction.agreed(columns, rows=70, strip_rows=32)
    asked = Asked()
    X, _, shares = test_prediction.made_up(found)
    simulation = Simulation(found, wire=asked.wire)
    simulation.run(
        lambda runtime: test_prediction.predict(found, X[:, found.held(runtime.rank)], shares[runtime.rank], runtime)
    )
    assert asked.requests == expected(found)


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("loss_every", [0, 1, 2])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_reference_engine_asks_for_what_is_listed(world, loss_every, fit_intercept):
    """Iteration by iteration, with a loss and without."""
    agreed = test_reference.program(world, rows=13, max_iter=3, loss_every=loss_every, fit_intercept=fit_intercept)
    assert trained(agreed, *table(agreed, 1)).requests == expected(agreed)


@few
@given(st.sampled_from(list(RUNS)), st.integers(2, 6), st.integers(0, 3))
def test_counts_are_those_of_the_list(run, world, climbs):
    """By kind, of a run of so many phases; as many requests as a comparison has rounds."""
    agreed = program([1] * world, **{"rows": 20, "max_iter": 3, "loss_every": 0, **RUNS[run]})
    phases = len(agreed.segments) + climbs
    whole = expected(agreed, phases)
    found = counts(agreed, phases)
    assert dict(found) == {kind: sum(each.kind == kind for each in whole) for kind in {each.kind for each in whole}}
    assert found.keys() <= {"triple", "binary", "b2a"}


SHAPES = st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple)


@some
@given(SHAPES)
def test_an_answer_has_the_shape_of_what_it_is_for(shape):
    """Of a product word by word, or of matrices."""
    assert requests.product(shape).value_shape == (np.ones(shape) * np.ones(shape)).shape
    for sizes in [((3, 5), (5,)), ((3, 5), (5, 2)), ((1, 5), (5, 1))]:
        X, w = map(np.ones, sizes)
        found = Request("triple", sizes, "matmul")
        assert found.value_shape == (X @ w).shape
        assert found.words == (X @ w).size


def test_an_engine_that_leaves_the_list_is_stopped_at_its_party():
    """A party's own engine that asks for what the program does not list is refused before anything is sent."""
    agreed, asked = program([1, 1]), Asked()

    def party(runtime):
        taken(agreed, runtime)
        x = shared(np.ones(3, dtype=np.int64))
        with pytest.raises(
            ProtocolError, match=r"asked for triple of .3,. and .3,. for mul where binary of .* is request 0"
        ):
            x.mul(x)
        return runtime.channel.counters.sent_by_name.get("open", 0)

    assert Simulation(agreed, wire=asked.wire).run(party) == [0, 0]
    assert asked.requests == []


class Modified:
    """A party's link to the dealer that sends other messages than its engine."""

    def __init__(self, link, change):
        self._link, self._change = link, change
        self.receive, self.close = link.receive, link.close

    def send(self, message):
        for each in self._change(message):
            self._link.send(each)


def _changed(**changes):
    def change(message):
        return [json.dumps({**json.loads(message), **changes}).encode() if message.startswith(REQUEST) else message]

    return change


def _one_more(message):
    return [message] if message != GOODBYE else [Request("binary", ((1, 2), (1, 2))).encode(99), message]


def _twice(message):
    return [message, message] if message.startswith(REQUEST) else [message]


CHANGES = {
    "another kind": (_changed(kind="triple", op="mul"), "party 1 asked for another kind, another operation where"),
    "another shape": (_changed(sizes=[[4], [4]]), "party 1 asked for other shapes where"),
    "another number": (_changed(number=50), "party 1 asked for another number where"),
    "again": (_twice, "party 1 asked for request . twice"),
    "one more": (_one_more, "party 1 asked for more correlated randomness"),
}


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("case", CHANGES)
def test_a_modified_party_ends_the_epoch_for_all(world, case):
    """In a real run: the dealer says who asked for what, and every party that is still at work says who is gone."""
    change, says = CHANGES[case]
    agreed = program([1] * world, loss_every=0)
    dealt = Dealt(agreed)
    dealt.links[1] = Modified(dealt.links[1], change)
    X, y = table(agreed, 1)
    errors = []

    def party(channel):
        link, rank = dealt.links[channel.rank], channel.rank
        try:
            with Runtime(channel, link, dealt.keys[rank], ProgramLedger(agreed), agreed, DIGEST) as runtime:
                train(agreed, *own(agreed, rank, X, y), runtime)
            link.receive()  # what tells a party that was done that the session ended otherwise
        except PrivityError as error:
            errors.append(error)
            channel.close()
            link.close()

    everyone(MemoryChannel.mesh(world, session=DIGEST), party)
    assert re.search(says, str(dealt.ended()))
    assert isinstance(dealt.ended(), ProtocolError | MaskReuse)
    assert len(errors) == world
    assert all(isinstance(error, PeerLost) for error in errors)
    assert any("dealer" in error.who for error in errors)

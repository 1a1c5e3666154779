"""What a listener inside the parties' TLS, the dealer or a modified party sees: nothing that it may not know."""

import numpy as np
import pytest
from scipy.stats import chisquare

from mpc.blocks import mask_table
from mpc.disclosure import Disclosure, ProgramLedger
from mpc.errors import DisclosureRefused, MaskReuse, ProtocolError
from mpc.layouts import layout, tuple_number
from mpc.openings import Truncated
from mpc.ring import encode
from mpc.scales import DATA_BITS
from mpc.shares import shared
from mpc.shim import BinarySharedTensor, crypten
from mpc.simulation import Simulation
from mpc.training import train
from tests.mpc.engine import own, program, session, table, taken
from tests.mpc.listener import Listener
from tests.mpc.observed import Observed

solvers = pytest.mark.parametrize("solver", ["nesterov", "newton"])
BITS = {0, 1}  # CrypTen's conversions open single bits, each under a random one


def marked(agreed, seed=1):
    """A standardised table none of whose entries is so near to zero that its word would be a bit."""
    X, y = table(agreed, seed)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return np.where(np.abs(X) < 2**-9, 2**-9, X), y


def words_in(payload):
    """The eight-byte words of a payload, wherever they start."""
    return {payload[start : start + 8] for start in range(len(payload) - 7)}


@solvers
@pytest.mark.parametrize("columns", [[2, 1], [1, 0, 2]], ids=len)
def test_no_entry_of_the_table_goes_over_a_wire(columns, solver):
    """No feature, as the ring's word or as a float, and no whole column of labels, is in any message of a run."""
    agreed = program(columns, rows=40, max_iter=6, loss_every=2, solver=solver)
    X, y = marked(agreed)
    listener = Observed(agreed, training=(X, y)).listener
    words = encode(X, DATA_BITS)
    secrets = {each.tobytes() for each in (*words.reshape(-1), *(-words).reshape(-1), *X.reshape(-1))}
    for payload in listener.payloads():
        assert not secrets & words_in(payload)
        assert y.tobytes() not in payload
        assert y.astype("u1").tobytes() not in payload


def test_masked_blocks_meet_no_other_words():
    """What opened words, masked blocks or their differences give is neither a mask nor an entry, for any pairing of
    words at the same place: no two messages are under one mask.
    """
    agreed = program([2, 1], rows=12, max_iter=8, loss_every=2)
    X, y = marked(agreed)
    listener = Observed(agreed, training=(X, y)).listener
    encoded = set(encode(X, DATA_BITS).reshape(-1).tolist())
    sent = [
        array.astype(np.int64).reshape(-1)
        for rank in range(2)
        for name, array in listener.frames(rank)
        if name in {"table", "residuals"} and array.dtype == np.int64
    ]
    columns = [part for each in sent for part in each.reshape(12, -1).T]
    for number, one in enumerate(columns):
        for other in columns[number + 1 :]:
            differences = set((one - other).tolist()) | set((one + other).tolist())
            assert 0 not in differences
            assert not differences & encoded


@solvers
def test_a_mask_serves_one_place(solver):
    """Within a session no two words that go over the wire between parties are equal: nothing is sent under one mask
    twice, and nothing unmasked.
    """
    agreed = program([2, 2, 1], rows=80, max_iter=10, loss_every=5, solver=solver)
    listener = Observed(agreed, training=(np.zeros((80, 5)), np.zeros(80, dtype=np.int64))).listener
    for rank in range(3):
        sent = [
            array
            for name, array in listener.frames(rank)[:: agreed.world - 1]
            if array.dtype == np.int64 and name not in {"open", "disclosure"}
        ]
        words = np.concatenate([array.reshape(-1) for array in sent])
        assert words.size > 1000
        assert np.unique(words).size == words.size


@pytest.mark.parametrize("name", ["weights", "residuals", "scores", "table"])
def test_words_between_parties_are_uniform(name):
    """On a table of zeros, which has nothing random of its own, each byte of what goes over the wire is uniform."""
    agreed = program([3, 3], rows=200, max_iter=30, loss_every=0)
    listener = Observed(agreed, training=(np.zeros((200, 6)), np.zeros(200, dtype=np.int64))).listener
    for rank in range(2):
        payload = b"".join(array.tobytes() for found, array in listener.frames(rank) if found == name)
        for place in range(8):
            counts = np.bincount(np.frombuffer(payload, "u1")[place::8], minlength=256)
            assert chisquare(counts).pvalue > 1e-9


@solvers
def test_a_run_repeated_shows_other_words(solver):
    """Two runs of one contract on one table share no word between parties: nothing can be subtracted."""
    agreed = program([2, 1], rows=12, max_iter=4, solver=solver)
    X, y = marked(agreed)
    words = []
    for _ in range(2):
        listener = Observed(agreed, training=(X, y)).listener
        words.append(
            {
                word
                for rank in range(2)
                for name, array in listener.frames(rank)
                if array.dtype == np.int64
                for word in array.reshape(-1).tolist()
                if name != "open" or word not in BITS
            }
        )
    assert not words[0] & words[1]


@solvers
def test_the_dealer_receives_no_word(solver):
    """After its keys, a party's messages to the dealer are names and shapes: as long as the table is, or as short."""
    lengths = []
    for seed in (1, 2):
        agreed = program([2, 1], rows=20, max_iter=4, solver=solver)
        listener = Observed(agreed, training=marked(agreed, seed)).listener
        lengths.append(listener.to_dealer())
    assert lengths[0] == lengths[1]  # of other tables, the same bytes
    assert all(max(map(len, messages)) < 200 for messages in lengths[0])


DOORS = ("reveal", "get_plain_text", "to one", "binary", "all_reduce", "reduce", "gather", "all_gather", "open_sum")


def ways_out(tensor, to):
    """Everything in CrypTen and in the engine's own communicator that would open a share."""
    communicator = crypten.communicator.get()
    return {
        "reveal": tensor.reveal,
        "get_plain_text": tensor.get_plain_text,
        "to one": lambda: tensor.get_plain_text(dst=to),
        "binary": lambda: BinarySharedTensor.from_shares(tensor.share.clone()).reveal(),
        "all_reduce": lambda: communicator.all_reduce(tensor.share.clone()),
        "reduce": lambda: communicator.reduce(tensor.share.clone(), to),
        "gather": lambda: communicator.gather(tensor.share, to),
        "all_gather": lambda: communicator.all_gather(tensor.share),
        "open_sum": lambda: communicator.open_sum("residuals", tensor.share.numpy()),
    }


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("to", [0, 1])
def test_no_door_opens_a_share_of_a_run(door, to):
    """A worker changed to open residuals or a gradient through CrypTen is refused by an honest peer, which sends
    nothing.
    """
    agreed = program([2, 1], rows=20, max_iter=4)

    def act(masked, _, tuples):
        values = tuples["slot"][0][1]
        gradient = masked.transposed_product(
            Truncated(np.zeros((20, 1), np.int64), values["noise_low"]), values["table_noise"]
        )
        communicator = crypten.communicator.get()
        before = communicator.channel.counters.bytes_sent
        for secret in (gradient, shared(values["noise_low"])):
            with pytest.raises(DisclosureRefused):
                ways_out(secret, to)[door]()
        return communicator.channel.counters.bytes_sent - before

    results, _ = session(agreed, *table(agreed, 1), act)
    assert results == [0, 0]


@pytest.mark.parametrize(
    "asked",
    [
        Disclosure("residuals", "session", 20),
        Disclosure("gradient", (0,), 3),
        Disclosure("labels", (0,), 20),
        Disclosure("coefficients", (0,), 3),
        Disclosure("coefficients", (1,), 2),
        Disclosure("coefficients", "session", 2),
        Disclosure("coefficients", (0, 1), 2),
        Disclosure("intercept", (0,), 1),
        Disclosure("loss", (0,), 1),
        Disclosure("loss", "session", 2),
        Disclosure("guard", "session", 2),
    ],
    ids=lambda asked: f"{asked.name} {asked.recipients} {asked.values}",
)
def test_a_disclosure_under_another_name_is_refused(asked):
    """Whatever a changed worker calls it, an honest one's ledger knows names, recipients and sizes: nothing is sent."""
    agreed = program([2, 1], rows=20)

    def party(runtime):
        taken(agreed, runtime)
        before = runtime.channel.counters.bytes_sent
        with pytest.raises(DisclosureRefused):
            runtime.discloser.open(asked, np.zeros(asked.values, dtype=np.int64))
        return runtime.channel.counters.bytes_sent - before

    assert Simulation(agreed).run(party) == [0, 0]


@pytest.mark.parametrize("name", ["coefficients", "intercept", "guard", "loss"])
def test_a_disclosure_is_not_made_twice(name):
    """A second copy of any disclosure of a program is refused, as often as it was agreed and no more."""
    agreed = program([2, 1])
    (item,) = [each for each in agreed.disclosures() if each.name == name and each.recipients != (0,)]
    ledger, asked = ProgramLedger(agreed), Disclosure(name, item.recipients, item.values)
    for _ in range(item.count):
        ledger.permit(asked)
    with pytest.raises(DisclosureRefused):
        ledger.permit(asked)


@pytest.mark.parametrize("columns", [[2, 1], [2, 1, 1]], ids=len)
def test_a_disclosed_share_is_a_fresh_one(columns):
    """What a recipient receives from each party is not the share that it held, and the sum is the same: a share tells
    of the run that it comes from.
    """
    agreed, listener = program(columns), Listener()
    held = np.array([7, -7], dtype=np.int64)

    def party(runtime):
        listener.introduce(runtime)
        taken(agreed, runtime)
        return runtime.discloser.open(Disclosure("coefficients", (0,), 2), held * (runtime.rank + 1))

    opened, *others = Simulation(agreed, wire=listener.wire).run(party)
    assert (opened == held * sum(range(1, agreed.world + 1))).all()
    assert others == [None] * (agreed.world - 1)
    for rank in range(1, agreed.world):
        ((_, sent),) = [frame for frame in listener.frames(rank) if frame[0] == "disclosure"]
        assert not np.isin(sent, held * (rank + 1)).any()
    assert not [frame for frame in listener.frames(0) if frame[0] == "disclosure"]


def test_a_party_that_opens_alone_gets_nothing():
    """A changed worker that sends its own share of residuals, and waits for its peer's, receives none: the peer goes on
    with the schedule, notices another name and ends the session.
    """
    agreed = program([2, 1], rows=20)
    X, y = table(agreed, 1)
    got = []

    def party(runtime):
        if runtime.rank == 1:
            return train(agreed, *own(agreed, 1, X, y), runtime)
        words = np.zeros(20, dtype=np.int64)
        got.append(runtime.channel.exchange("residuals", {1: words}, {1: ("i8", (20,))}))
        return None

    with pytest.raises(ProtocolError, match="name"):
        Simulation(agreed).run(party)
    assert got == []


@pytest.mark.parametrize("number", [0, tuple_number(0, 0), tuple_number(1, 0), tuple_number(1, 3)])
def test_a_tuple_is_expanded_once(number):
    """A party that is made to use a tuple of the schedule again refuses, before it sends anything under its mask."""
    agreed = program([1, 1])

    def party(runtime):
        taken(agreed, runtime)
        with pytest.raises(MaskReuse):
            runtime.provider.ahead(number, layout(agreed, agreed.ladder[0], "slot"))

    Simulation(agreed).run(party)


def test_a_table_is_masked_once():
    """A second table of the same epoch is not sent under the first one's masks, and neither are the labels."""
    agreed = program([1, 1])
    X, y = table(agreed, 1)

    def party(runtime):
        taken(agreed, runtime)
        mask_table(agreed, runtime.keys, *own(agreed, runtime.rank, X, y))
        before = runtime.channel.counters.bytes_sent
        with pytest.raises(MaskReuse):
            mask_table(agreed, runtime.keys, *own(agreed, runtime.rank, -X, y))
        return runtime.channel.counters.bytes_sent - before

    assert Simulation(agreed).run(party) == [0, 0]


def test_nothing_secret_is_printed():
    """What a run holds shows no words where it is printed, as an error's traceback would."""
    agreed = program([2, 1], rows=20, max_iter=2, loss_every=1)
    X, y = table(agreed, 1)

    def party(runtime):
        fit = train(agreed, *own(agreed, runtime.rank, X, y), runtime)
        return [repr(each) for each in (fit, runtime.keys, runtime.keys.dealt, runtime.provider, runtime)], fit

    for texts, fit in Simulation(agreed).run(party):
        shown = [repr(float(value)) for value in fit.models[0].coefficients]
        assert not any(value in text for value in shown for text in texts)
        assert not any("array(" in text for text in texts)

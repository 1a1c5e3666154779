"""Tables that are divided by rows or in any way: what a listener, the dealer or a party sees tells of no entry."""

import numpy as np
import pytest
from scipy.stats import chisquare

from mpc.ring import encode
from mpc.scales import DATA_BITS
from tests.mpc.engine import session, table
from tests.mpc.listener import Listener
from tests.mpc.observed import Observed
from tests.mpc.tilings import divided, whole_run

kinds = pytest.mark.parametrize("kind", ["horizontal", "mixed", "windmill"])
solvers = pytest.mark.parametrize("solver", ["nesterov", "newton"])
BITS = {0, 1}  # CrypTen's conversions open single bits, each under a random one


def marked(agreed, seed=1):
    """A table none of whose entries is so near to zero that its word would be a bit."""
    X, y = table(agreed, seed)
    return np.where(np.abs(X) < 2**-9, 2**-9, X), y


@kinds
@solvers
def test_no_entry_of_the_table_goes_over_a_wire(kind, solver):
    """No feature, as the ring's word or as a float, and no party's labels, are in any message of a run."""
    agreed = divided(kind, 200, solver=solver)  # a party's labels are a word long enough not to come by chance
    X, y = marked(agreed)
    listener = Observed(agreed, training=(X, y)).listener
    words = encode(X, DATA_BITS)
    secrets = {each.tobytes() for each in (*words.reshape(-1), *(-words).reshape(-1), *X.reshape(-1))}
    for payload in listener.payloads():
        assert not secrets & {payload[start : start + 8] for start in range(len(payload) - 7)}
        for part in agreed.labels:
            assert y[part.place].tobytes() not in payload


@kinds
@solvers
def test_a_mask_serves_one_place(kind, solver):
    """On a table of zeros, whose masked blocks are their masks, no word goes over the wire twice: no two blocks of a
    party, and no labels, are under one mask.
    """
    agreed = divided(kind, 60, solver=solver)
    listener = Observed(agreed, training=(np.zeros((60, 6)), np.zeros(60, dtype=np.int64))).listener
    found = []
    for rank in range(agreed.world):
        found += [
            array.reshape(-1)
            for name, array in listener.frames(rank)[:: agreed.world - 1]
            if array.dtype == np.int64 and name not in {"open", "disclosure"}
        ]
    words = np.concatenate(found)
    assert words.size > 1000
    assert np.unique(words).size == words.size


@kinds
def test_masked_entries_are_uniform(kind):
    """Each byte of what a party sends of a table of zeros is uniform."""
    agreed = divided(kind, 600, solver="nesterov", max_iter=1)
    listener = Observed(agreed, training=(np.zeros((600, 6)), np.zeros(600, dtype=np.int64))).listener
    for rank in range(agreed.world):
        sent = [array for name, array in listener.frames(rank)[:: agreed.world - 1] if name == "table"]
        payload = np.frombuffer(b"".join(array.tobytes() for array in sent), "u1")
        for place in range(8):
            assert chisquare(np.bincount(payload[place::8], minlength=256)).pvalue > 1e-9


@kinds
def test_a_party_holds_others_entries_masked_alone(kind):
    """Of a constant table, whose entries would show most, no party's view has one in a place that is another's, and
    no two words there are alike.
    """
    agreed = divided(kind, solver="nesterov")
    X, y = table(agreed, 1)
    X[:, :] = 1.5
    results, _ = session(agreed, X, y, lambda masked, *_: masked)
    for rank, masked in enumerate(results):
        theirs = np.ones((agreed.rows, agreed.columns), dtype=bool)
        for block in agreed.of(rank):
            theirs[block.place] = False
        seen = masked._E[:, : agreed.columns][theirs]
        assert not np.isin(seen, [3 << (DATA_BITS - 1), 0]).any()
        assert np.unique(seen).size == seen.size
        mine = np.zeros((agreed.rows, len(agreed.own(rank))), dtype=bool)
        for place in agreed.places(rank):
            mine[place] = True
        if rank == 0:
            mine[:, -1] = True  # the constant column, which is public
        assert not masked._X[~mine].any()
        labelled = np.zeros(agreed.rows, dtype=bool)
        for part in agreed.labels:
            labelled[part.place] |= part.owner == rank
        assert masked.labels is None or not masked.labels[~labelled].any()
        assert not np.isin(masked._masked_labels[~labelled], [0, 1]).any()


@kinds
@solvers
def test_the_dealer_receives_no_word(kind, solver):
    """Of tables that differ, moments included, it receives the same bytes, and none that are long."""
    heard_by_dealer = []
    for seed in (1, 2):
        agreed, listener = divided(kind, 20, solver=solver), Listener()
        X, y = marked(agreed, seed)
        whole_run(agreed, X * seed, y, wire=listener.wire)
        messages = sorted(tuple(each[1:]) for each in listener._up.values())  # but for keys
        heard_by_dealer.append(messages)
    assert heard_by_dealer[0] == heard_by_dealer[1]
    assert all(max(map(len, messages)) < 200 for messages in heard_by_dealer[0])


@kinds
def test_a_run_repeated_shows_other_words(kind):
    """Two runs of one contract on one table share no word between parties, moments included."""
    agreed = divided(kind)
    X, y = marked(agreed)
    words = []
    for _ in range(2):
        listener = Listener()
        whole_run(agreed, X, y, wire=listener.wire)
        listener._ranks = dict(enumerate(listener._between))
        found = {
            word
            for rank in listener._ranks
            for name, array in listener.frames(rank)
            if array.dtype == np.int64
            for word in array.reshape(-1).tolist()
            if name != "open" or word not in BITS
        }
        words.append(found)
    assert not words[0] & words[1]

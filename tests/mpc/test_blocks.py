"""The masked table: products are exact in the ring, for every partition of the columns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.costs import WORD, opening
from mpc.openings import Truncated
from mpc.ring import encode, product
from mpc.scales import DATA_BITS
from mpc.shares import words
from tests.mpc.engine import few, joined, partitions, program, seeds, session, table, uniform


@st.composite
def programs(draw):
    """Any partition, label owner, with and without intercept and loss."""
    columns = draw(partitions)
    return program(
        columns,
        draw(st.integers(2, 12)),
        label_owner=None if 0 in columns else draw(st.integers(0, len(columns) - 1)),
        fit_intercept=draw(st.booleans()),
        loss_every=draw(st.integers(0, 1)),
    )


def encoded(agreed, X):
    """The joint table as ring words, the constant column last."""
    constant = np.ones((agreed.rows, agreed.width - agreed.columns))
    return encode(np.concatenate([X, constant], axis=1), DATA_BITS)


@few
@given(programs(), seeds)
def test_products_with_the_masked_table_are_exact(agreed, seed):
    """X w and X^T r are the integers' products modulo 2**64, for the operands that the dealer's tuples make."""
    X, y = table(agreed, seed)
    deltas = [uniform(np.random.default_rng(seed), (count, 1)) for count in (agreed.width, agreed.rows)]

    def party(masked, _, tuples):
        values = tuples["slot"][0][1]
        w, r = Truncated(deltas[0], values["low"]), Truncated(deltas[1], values["noise_low"])
        return (
            words(masked.product(w, values["table_low"])),
            words(masked.transposed_product(r, values["table_noise"])),
            words(w.tensor()),
            words(r.tensor()),
        )

    z, g, w, r = (joined(shares) for shares in zip(*session(agreed, X, y, party)[0], strict=True))
    assert (z == product(encoded(agreed, X), w)).all()
    assert (g == product(encoded(agreed, X).T, r)).all()


@few
@given(programs().filter(lambda agreed: agreed.loss_every), seeds)
def test_label_totals_are_exact(agreed, seed):
    """X^T y is right whoever holds the labels, and however few columns that party has."""
    X, y = table(agreed, seed)

    def party(masked, label_mask, tuples):
        return words(masked.label_totals(agreed, label_mask, tuples["labels"][0][1]["table_labels"]))

    found, simulation = session(agreed, X, y, party)
    assert (joined(found) == product(encoded(agreed, X).T, y)[:, None]).all()
    for channel in simulation.channels:
        cost = opening(agreed.world, WORD * (agreed.cells(channel.rank) + agreed.labelled(channel.rank)))
        assert channel.counters.sent_by_name["table"] == cost.bytes_sent


@few
@given(programs(), seeds)
def test_a_masked_block_shows_nothing(agreed, seed):
    """Each peer receives the block under a mask that fills the ring: no encoded entry, nor one column twice alike."""
    X, y = table(agreed, seed)
    X[:, :] = X[0, 0]  # constant columns would show most

    def party(masked, *_):
        return masked

    results, _ = session(agreed, X, y, party)
    entry = encode(X[:1, 0], DATA_BITS)
    for rank, masked in enumerate(results):
        theirs = np.delete(masked._E, [*agreed.held(rank), *range(agreed.columns, agreed.width)], axis=1)
        assert not np.isin(theirs, entry).any()
        assert len(set(theirs.reshape(-1).tolist())) == theirs.size


@pytest.mark.parametrize("label_owner", [0, 1])
def test_labels_stay_at_home_unless_the_loss_needs_them(label_owner):
    """Without loss reports the labels do not leave their owner, not even under a mask."""
    sent = {}
    for loss_every in (0, 1):
        agreed = program([2, 2], label_owner=label_owner, loss_every=loss_every)
        _, simulation = session(agreed, *table(agreed, 1), lambda *_: None)
        sent[loss_every] = simulation.channels[label_owner].counters.sent_by_name["table"]
    assert sent[1] - sent[0] == WORD * 12


def test_a_table_is_not_printed():
    """Neither a party's columns nor others' masked ones appear where a table is printed."""
    agreed = program([2, 2])
    X, y = table(agreed, 1)
    results, _ = session(agreed, X, y, lambda masked, *_: (repr(masked), str(masked)))
    assert all("[" not in text for texts in results for text in texts)
    assert repr(Truncated(np.arange(3), np.arange(3))) == "Truncated()"

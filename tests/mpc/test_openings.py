"""Openings against Python's integers: right, masked, and of one size whatever is rejected."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.costs import ANGLE, WORD, opening
from mpc.errors import EngineError
from mpc.openings import Slot, first_accepted
from mpc.shares import shared, words
from tests.mpc.engine import RING, centred, edge_words, joined, kernel, ring, seeds, some, split, uniform, worlds


@dataclass
class Opened:
    """What all parties together have after a truncating opening."""

    value: list[int]
    void: list[bool]
    bytes_sent: list[int]
    rounds: int


def truncate(world, seed, x, masks, window, shift, *, void=False):
    """Open x >> shift under given masks, in shares."""
    generator = np.random.default_rng(seed)
    x_shares, mask_shares = split(generator, world, ring(x)), split(generator, world, ring(masks))
    low_shares = split(generator, world, ring([mask % RING >> shift for mask in masks]))

    def act(rank):
        slot = Slot(void=void)
        found = slot.truncating("x", shared(x_shares[rank]), mask_shares[rank], low_shares[rank], window, shift)
        return words(found.tensor()), slot.void

    results, channels = kernel(world, act)
    return Opened(
        centred(joined([share for share, _ in results])),
        [void for _, void in results],
        [channel.counters.bytes_sent for channel in channels],
        channels[0].counters.rounds,
    )


@st.composite
def truncations(draw):
    """A window, a shift, values inside the window and masks, at the edges above all."""
    window = draw(st.integers(2, 63))
    half = 1 << (window - 1)
    values = st.one_of(st.sampled_from([0, 1, -1, half - 1, -half + 1]), st.integers(-half + 1, half - 1))
    x = draw(st.lists(values, min_size=1, max_size=4))
    # Where the opened word would lie: at a border of the rejected range, or anywhere.
    borders = st.sampled_from([0, (1 << window) - 1, 1 << window, RING - 1, 1 << 63, (1 << 63) - 1])
    targets = draw(st.lists(st.one_of(borders, edge_words), min_size=len(x), max_size=len(x)))
    masks = [(target - value - half) % RING for target, value in zip(targets, x, strict=True)]
    return window, draw(st.integers(1, window - 1)), x, masks, targets


@some
@given(worlds, seeds, truncations())
def test_a_truncating_opening_rounds_or_is_void(world, seed, case):
    """The slot is void exactly if an opened word lies below 2**window; else each value is x / 2**shift, rounded up or
    down."""
    window, shift, x, masks, targets = case
    opened = truncate(world, seed, x, masks, window, shift)
    assert opened.void == [any(target < 1 << window for target in targets)] * world
    if not opened.void[0]:
        assert all(found - (value >> shift) in (0, 1) for found, value in zip(opened.value, x, strict=True))


def test_truncation_is_unbiased():
    """Over all remainders of the mask, the rounded values' mean is x / 2**shift exactly."""
    shift, window, x = 4, 20, [1000, -1000, 7, -7, 0, 524287]
    totals = np.zeros(len(x), dtype=np.int64)
    for remainder in range(1 << shift):
        masks = [(1 << 62) + remainder] * len(x)
        totals += truncate(2, remainder, x, masks, window, shift).value
    assert totals.tolist() == x


@some
@given(worlds, seeds, st.lists(edge_words, min_size=1, max_size=4), st.integers(32, 64))
def test_a_period_opening_gives_the_angle(world, seed, values, bits):
    """The opened fraction is z - turn modulo 2**bits, within (n + 1) / 2 in the last of 32 bits."""
    generator = np.random.default_rng(seed)
    z, turns = ring(values), uniform(generator, (len(values),))
    z_shares, turn_shares = split(generator, world, z), split(generator, world, turns)
    results, channels = kernel(world, lambda rank: Slot().period("z", shared(z_shares[rank]), turn_shares[rank], bits))
    assert all((result == results[0]).all() for result in results)
    for found, exact in zip(results[0].tolist(), centred(z - turns), strict=True):
        distance = ((found << (bits - 32)) - exact) % (1 << bits)
        assert 0 <= found < 1 << 32
        assert 2 * min(distance, (1 << bits) - distance) <= (world + 1) << (bits - 32)
    cost = opening(world, ANGLE * len(values))
    assert [(each.counters.rounds, each.counters.bytes_sent) for each in channels] == [
        (cost.rounds, cost.bytes_sent)
    ] * world


@pytest.mark.parametrize("world", [2, 3, 4, 5])
@pytest.mark.parametrize("target", [0, RING - 1], ids=["rejected", "accepted"])
def test_a_truncating_opening_costs_what_is_declared(world, target):
    """Rejected or not, it is one round and eight bytes a word to each peer."""
    masks = [(target - 5 - 512) % RING] * 3
    opened = truncate(world, 1, [5] * 3, masks, 10, 3)
    assert opened.void[0] == (target == 0)
    assert opened.bytes_sent == [opening(world, 3 * WORD).bytes_sent] * world
    assert opened.rounds == opening(world, 0).rounds


def second_opening(x, target):
    """What party 0 sends when x is opened in a slot whose first opened word was `target`, and the words' masks."""
    generator = np.random.default_rng(1)
    mask = uniform(generator, (8,))
    sent = []

    def act(rank):
        slot, zero = Slot(), np.zeros(1, dtype=np.int64)
        first = ring([target - 512]) if rank == 0 else zero
        slot.truncating("first", shared(zero), first, zero, 10, 3)
        words_of = x if rank == 0 else np.zeros_like(x)
        opened = slot._open("second", words_of + (mask if rank == 0 else 0))
        if rank == 0:
            sent.append(opened)

    kernel(2, act)
    return sent[0], mask


def test_after_a_rejection_fresh_random_words_are_sent():
    """A void slot's later openings contain nothing of the value, nor of its mask; an accepted one's are masked."""
    x = np.arange(8)
    accepted, mask = second_opening(x, RING - 1)
    assert (accepted == x + mask).all()
    void, again = second_opening(x, 0)[0], second_opening(x, 0)[0]
    assert not np.isin(void, x + mask).any()
    assert not np.intersect1d(void, again).size  # from a source that does not repeat


def first(world, rejected, copies=3):
    """The first accepted of several copies, of which the first few are rejected."""
    generator = np.random.default_rng(1)
    x, window, shift = [100, -100], 10, 2
    targets = np.array([[RING - 1 if copy >= rejected else 0, RING - 1] for copy in range(copies)], dtype=object)
    masks = np.array([[(target - value - 512) % RING for target, value in zip(row, x, strict=True)] for row in targets])
    x_shares, mask_shares = split(generator, world, ring(x)), split(generator, world, ring(masks))
    low_shares = split(generator, world, ring([[mask >> shift for mask in row] for row in masks.tolist()]))

    def act(rank):
        copy, found = first_accepted("x", shared(x_shares[rank]), mask_shares[rank], low_shares[rank], window, shift)
        return copy, words(found.tensor())

    results, channels = kernel(world, act)
    assert [channel.counters.bytes_sent for channel in channels] == [
        opening(world, copies * 2 * WORD).bytes_sent
    ] * world
    return [copy for copy, _ in results], centred(joined([share for _, share in results]))


@pytest.mark.parametrize("world", [2, 3, 5])
@pytest.mark.parametrize("rejected", [0, 1, 2])
def test_the_first_accepted_copy_is_used(world, rejected):
    """Whichever copies are rejected, the value is right, all parties use the same copy and the cost is the same."""
    copies, value = first(world, rejected)
    assert copies == [rejected] * world
    assert all(found - exact in (0, 1) for found, exact in zip(value, [25, -25], strict=True))


def test_no_accepted_copy_ends_the_session():
    """If every copy is rejected, a party says so and does not go on with a wrong value."""
    with pytest.raises(EngineError, match="every copy"):
        first(2, 3)

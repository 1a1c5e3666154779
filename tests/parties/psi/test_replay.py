"""A matching is made again from its seed, its records and what came in; by anything else it is another."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from mpc.channel import Channel, MemoryChannel
from mpc.commitment import Chained, Commitment, Commitments
from mpc.disclosure import ProgramLedger
from mpc.errors import ProtocolError, ReplayDiffers
from mpc.frames import NAME_BYTES
from mpc.matching_program import Matching, derive_matching
from mpc.randomness import Entropy, Secret
from mpc.replay import Recording, Replayed
from parties.psi import count, keyed_records, match
from tests.parties.psi.test_protocol import KEY, RULES, Noting, bound, names, played

LISTS = [[f"p{number}" for number in range(start, 700 + start)] for start in (0, 200, 300)]
PROGRAMS = {
    "two": Matching(sizes=(700, 700)),
    "three, in shards": Matching(sizes=(700, 700, 700), shard_records=300),
    "an estimate": derive_matching([700, 700], estimate=True),
}


def seed(rank: int) -> Secret:
    return Secret(bytes([rank + 1]) * 32)


def found(
    program: Matching, wires: tuple[Chained, Commitments], ids: Sequence[str], entropy: Entropy, workers: int
) -> np.ndarray:
    """This party's common rows, or the sample's count."""
    records, ledger = keyed_records([ids], RULES, KEY), ProgramLedger(program)
    facts = program, *wires, KEY, records, RULES, ledger, names(len(program.sizes)), entropy, workers
    return np.array([count(*facts).sampled]) if program.is_estimate else match(*facts).rows


@dataclass
class Run:
    """A matching of which every party's part was recorded."""

    program: Matching
    rows: list[np.ndarray]
    signed: list[list[Commitment]]
    reels: list[bytes]

    def again(self, rank: int, *, reel: bytes | None = None, ids: Sequence[str] | None = None, by: int | None = None):
        """One party's part, alone, by one thread: what it finds and signs, and the bytes of the reel that are left."""
        tape, signer = io.BytesIO(self.reels[rank] if reel is None else reel), Noting()
        wires = bound(Replayed(rank, len(self.program.sizes), tape), signer=signer)
        entropy = Entropy(seed(rank if by is None else by))
        rows = found(self.program, wires, ids or LISTS[rank], entropy, 1)
        return rows, signer.signed, tape.read()


def recorded(program: Matching) -> Run:
    world = range(len(program.sizes))
    tapes, signers = [io.BytesIO() for _ in world], [Noting() for _ in world]

    def work(channel: Channel) -> np.ndarray:
        rank = channel.rank
        wires = bound(Recording(channel, tapes[rank]), signer=signers[rank])
        return found(program, wires, LISTS[rank], Entropy(seed(rank)), 3)

    parties = played([work] * len(world), MemoryChannel.mesh(len(world)))
    assert [party.error for party in parties] == [None] * len(world)
    rows = [party.rows for party in parties]
    return Run(program, rows, [one.signed for one in signers], [tape.getvalue() for tape in tapes])


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    return {name: recorded(program) for name, program in PROGRAMS.items()}


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_part_is_made_again(runs, name):
    """The same records, in the same order; the same is signed at each stage; nothing of what came is left."""
    run = runs[name]
    for rank in range(len(run.program.sizes)):
        rows, signed, left = run.again(rank)
        assert np.array_equal(rows, run.rows[rank])
        assert signed == run.signed[rank]
        assert left == b""


@pytest.mark.parametrize("name", PROGRAMS)
def test_another_seed_sends_other_lists(runs, name):
    """From the first list on: all that is drawn follows from the seed."""
    with pytest.raises(ReplayDiffers) as caught:
        runs[name].again(1, by=0)
    assert caught.value.name == "match.lists"


def test_other_records_send_other_lists(runs):
    """One id of seven hundred."""
    ids = [*LISTS[0][:-1], "somebody else"]
    with pytest.raises(ReplayDiffers) as caught:
        runs["two"].again(0, ids=ids)
    assert caught.value.name == "match.lists"


def test_what_came_otherwise_is_noticed_as_it_would_have_been(runs):
    """A byte of the last places that came: a record would be common twice."""
    reel = runs["two"].reels[0]
    came = reel.rindex(b"match.places") + NAME_BYTES + 8  # its first byte, behind the name and their length
    with pytest.raises(ProtocolError, match="took back another shuffle"):
        runs["two"].again(0, reel=reel[:came] + bytes([reel[came] ^ 1]) + reel[came + 1 :])


def test_no_two_runs_draw_the_same(runs):
    """Without a seed each run draws anew: of two on the same lists no list that was sent is the other's."""
    program = PROGRAMS["two"]
    sent: list[set[bytes]] = []
    for _ in range(2):
        messages: list[bytes] = []

        def work(channel: Channel) -> np.ndarray:
            return found(program, bound(channel), LISTS[channel.rank], Entropy(), 3)

        parties = played([work, work], MemoryChannel.mesh(2, tap=messages.append))
        assert [party.error for party in parties] == [None, None]
        sent.append({message[-1000:] for message in messages if len(message) > 10_000})
    assert len(sent[0]) == 4
    assert not sent[0] & sent[1]
    assert len(runs["two"].rows[0]) == 500

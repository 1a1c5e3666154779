"""Matching finds the common records and no others, the same order everywhere, and tells nothing before it may."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.channel import MemoryChannel
from mpc.commitment import DIGEST_BYTES, SIGNATURE_BYTES, Chained, Commitment, Commitments, Unsigned
from mpc.costs import KEYS, opening
from mpc.disclosure import Disclosure, ProgramLedger
from mpc.errors import CommitmentsDiffer, DisclosureRefused, PeerLost, ProtocolError
from mpc.matching_program import SHARD_RECORDS, Matching, capacity, derive_matching
from mpc.randomness import Entropy
from mpc.transcript import Transcript
from parties.agreement.match_rules import MatchRules
from parties.errors import DataError
from parties.psi import Records, TooFewMatches, costs, count, keyed_records, match
from parties.psi import protocol as psi
from parties.psi.curve import POINT_BYTES, Cipher

KEY = bytes(range(32))
RULES = MatchRules(minimum=1)


class Party(threading.Thread):
    """One party of a match, and what came of it."""

    def __init__(self, channel: MemoryChannel, work: Callable[[MemoryChannel], np.ndarray]) -> None:
        super().__init__()
        self.channel, self._work = channel, work
        self.rows: np.ndarray | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.rows = self._work(self.channel)
        except Exception as exc:  # noqa: BLE001 - the test looks at it
            self.error = exc
        finally:
            self.channel.close()


def played(works: Sequence[Callable[[MemoryChannel], np.ndarray]], taps=None) -> list[Party]:
    channels = MemoryChannel.mesh(len(works)) if taps is None else taps
    parties = [Party(channel, work) for channel, work in zip(channels, works, strict=True)]
    for party in parties:
        party.start()
    for party in parties:
        party.join(60)
        assert not party.is_alive()
    return parties


def names(count: int) -> list[str]:
    return [f"party-{rank}" for rank in range(count)]


class Noting(Unsigned):
    """Signs as anybody could, and writes down what this party was asked to sign."""

    def __init__(self) -> None:
        self.signed: list[Commitment] = []

    def sign(self, commitment: Commitment) -> bytes:
        self.signed.append(commitment)
        return super().sign(commitment)


def bound(channel: MemoryChannel, chained=Chained, signer=None) -> tuple[Chained, Commitments]:
    """A party's channel and its commitments, as a worker has them once keys are agreed on."""
    chain = chained(channel)
    chain.sent.begin(KEY)
    return chain, Commitments(chain, bytes(DIGEST_BYTES), bytes(SIGNATURE_BYTES), KEY, signer or Unsigned())


def plain(ids: Sequence[str], sizes: Sequence[int], rules: MatchRules = RULES, key: bytes = KEY, ledger=None, **bind):
    """An honest party among lists of these lengths."""
    program = Matching(sizes=tuple(sizes))

    def work(channel: MemoryChannel) -> np.ndarray:
        records, allowed = keyed_records([ids], rules, key), ledger or ProgramLedger(program)
        return match(
            program, *bound(channel, **bind), key, records, rules, allowed, names(len(sizes)), Entropy(), 2
        ).rows

    return work


def facts(channel: MemoryChannel, ids: Sequence[str], sizes: Sequence[int], threads: int) -> tuple:
    """What a run of one of two parties is made of."""
    program, records = Matching(sizes=tuple(sizes)), keyed_records([ids], RULES, KEY)
    return (
        program,
        *bound(channel),
        KEY,
        records,
        RULES,
        ProgramLedger(program),
        names(2),
        Entropy(),
        Cipher(threads, Entropy()),
    )


def matched(*lists: Sequence[str], rules: MatchRules = RULES) -> list[list[str]]:
    """The ids that each party has found, in its order."""
    parties = played([plain(ids, list(map(len, lists)), rules) for ids in lists])
    for party in parties:
        if party.error is not None:
            raise party.error
    return [[ids[row] for row in party.rows] for ids, party in zip(lists, parties, strict=True)]


@pytest.mark.parametrize("world", [2, 3, 4])
def test_all_parties_find_the_common_records_in_one_order(world):
    """Lists of different lengths and orders, overlapping pairwise: what all have is found, and nothing else."""
    rng = np.random.default_rng(world)
    lists = [
        list(rng.permutation([f"p{i}" for i in range(start, 400 + 9 * start)])) for start in range(0, 40 * world, 40)
    ]
    found = matched(*lists)
    assert all(ids == found[0] for ids in found)
    assert set(found[0]) == set.intersection(*map(set, lists))
    assert len(found[0]) == len(set(found[0]))
    assert found[0] != sorted(found[0])


@settings(max_examples=15)
@given(st.lists(st.sets(st.integers(0, 30), min_size=1), min_size=2, max_size=3))
def test_any_lists(sets):
    """As sets of Python have it, down to no common record at all."""
    lists = [[f"p{number}" for number in numbers] for numbers in sets]
    common = set.intersection(*map(set, lists))
    if common:
        assert all(set(found) == common for found in matched(*lists))
    else:
        with pytest.raises(TooFewMatches):
            matched(*lists)


def test_many_shards_find_the_same():
    """Records spread over shards with room to spare: nothing is lost, nothing is found twice."""
    assert Matching(sizes=(3 * SHARD_RECORDS, 10 * SHARD_RECORDS)).shards == 3
    one, other = [f"p{i}" for i in range(5000)], [f"p{i}" for i in range(3000, 7000)]
    program = Matching(sizes=(5000, 4000), shard_records=1000)
    assert program.shards == 4

    def work(ids: Sequence[str]):
        def run(channel: MemoryChannel) -> np.ndarray:
            records = keyed_records([ids], RULES, KEY)
            return match(
                program, *bound(channel), KEY, records, RULES, ProgramLedger(program), names(2), Entropy(), 2
            ).rows

        return run

    parties = played([work(one), work(other)])
    assert [party.error for party in parties] == [None, None]
    found = [[ids[row] for row in party.rows] for ids, party in zip((one, other), parties, strict=True)]
    assert found[0] == found[1]
    assert set(found[0]) == set(one) & set(other)
    declared = costs.quote(program).bytes_sent
    keys = opening(2, KEYS).bytes_sent
    assert [party.channel.counters.bytes_sent for party in parties] == [sent - keys for sent in declared]


def test_shards_have_room():
    """Seven deviations: of a million ways to spread, none came near."""
    rng = np.random.default_rng(1)
    for size, parts in ((100_000, 2), (1_000_000, 16)):
        most = max(rng.multinomial(size, [1 / parts] * parts).max() for _ in range(2000))
        assert most < capacity(size, parts)
        assert capacity(size, parts) < 1.1 * size / parts


def test_too_few_matches_tell_nobody_which():
    """Below the minimum no shuffle is taken back: no place ever goes over the channel."""
    rules = MatchRules(minimum=11)
    lists = ([f"p{i}" for i in range(30)], [f"p{i}" for i in range(20, 60)])
    parties = played([plain(ids, (30, 40), rules) for ids in lists])
    for party in parties:
        assert isinstance(party.error, TooFewMatches)
        assert "10 records in common, 11 were agreed on" in str(party.error)
        assert "10" not in party.error.outward
        assert "match.places" not in party.channel.counters.sent_by_name
        assert "match.few" in party.channel.counters.sent_by_name
    parties = played([plain(ids, (30, 40), MatchRules(minimum=10)) for ids in lists])
    assert all(len(party.rows) == 10 for party in parties)
    assert not [party for party in parties if "match.few" in party.channel.counters.sent_by_name]


def test_a_peer_that_dies_after_the_count_changes_nothing_about_its_outcome():
    """Too few are too few, whether or not the others tell that they have counted so."""

    class Dying(Chained):
        """Ends instead of telling it."""

        def exchange(self, name, outgoing, expected):
            if name == "match.few":
                raise ProtocolError("died", action="")
            return super().exchange(name, outgoing, expected)

    ids, rules = [f"p{i}" for i in range(20)], MatchRules(minimum=21)
    parties = played([plain(ids, (20, 20), rules, chained=Dying), plain(ids, (20, 20), rules)])
    assert str(parties[0].error).startswith("died")
    assert isinstance(parties[1].error, TooFewMatches)


class Recorder(ProgramLedger):
    """What a party recorded, or where it refused."""

    def __init__(self, sizes: Sequence[int], refused: str = "") -> None:
        super().__init__(Matching(sizes=tuple(sizes)), self._note)
        self.noted: list[tuple[str, tuple[int, ...], int]] = []
        self.values: dict[str, np.ndarray] = {}
        self._refused = refused

    def _note(self, disclosure: Disclosure) -> None:
        if disclosure.name == self._refused:
            raise DisclosureRefused("no")
        self.noted.append((disclosure.name, disclosure.recipients, disclosure.values))

    def told(self, disclosure, opened):
        self.values[disclosure.name] = opened


def test_what_was_told_is_kept():
    """Counts of each group of parties, in order, and a digest of the own rows that all have."""
    lists, sizes = [[f"p{i}" for i in range(start, start + 30)] for start in (0, 5, 10)], (30, 30, 30)
    ledgers = [Recorder(sizes) for _ in lists]
    parties = played([plain(ids, sizes, ledger=ledger) for ids, ledger in zip(lists, ledgers, strict=True)])
    for party, ledger in zip(parties, ledgers, strict=True):
        assert ledger.values["matches"].reshape(-1, 4).sum(axis=0).tolist() == [25, 20, 25, 20]
        rows = np.asarray(party.rows, dtype="<i8")
        assert ledger.values["matched"].astype("<i8").tobytes() == hashlib.sha256(rows.tobytes()).digest()


def test_all_that_is_told_is_recorded_by_everybody():
    """Counts of each group, and who is told of how many own records; too few leave the last out."""
    lists, sizes = [[f"p{i}" for i in range(start, start + 30)] for start in (0, 5, 10)], (30, 30, 30)
    ledgers = [Recorder(sizes) for _ in lists]
    parties = played([plain(ids, sizes, ledger=ledger) for ids, ledger in zip(lists, ledgers, strict=True)])
    assert [party.error for party in parties] == [None] * 3
    counts = ("matches", (0, 1, 2), 4)
    assert all(ledger.noted == [counts, *(("matched", (rank,), 20) for rank in range(3))] for ledger in ledgers)
    few = [Recorder(sizes) for _ in lists]
    works = [plain(ids, sizes, MatchRules(minimum=21), ledger=one) for ids, one in zip(lists, few, strict=True)]
    assert all(isinstance(party.error, TooFewMatches) for party in played(works))
    assert all(ledger.noted == [counts] for ledger in few)


@pytest.mark.parametrize(("refused", "unsent"), [("matches", "match.finals"), ("matched", "match.places")])
def test_what_is_not_recorded_is_not_told(refused, unsent):
    """A node that does not record a disclosure ends the match before this party has sent what tells it."""
    ids = [f"p{i}" for i in range(20)]
    parties = played([plain(ids, (20, 20), ledger=Recorder((20, 20), refused)), plain(ids, (20, 20))])
    assert isinstance(parties[0].error, DisclosureRefused)
    assert unsent not in parties[0].channel.counters.sent_by_name
    assert isinstance(parties[1].error, PeerLost)
    assert parties[1].rows is None


def test_lists_of_another_length_than_agreed():
    """More records are an error before one is sent; fewer are filled up, and nothing that is sent is shorter."""
    ids = [f"p{i}" for i in range(30)]
    assert "more records are here" in str(played([plain(ids, (29, 30)), plain(ids, (29, 30))])[0].error)
    sent = []
    for own in (ids, ids[:3]):
        parties = played([plain(own, (30, 30)), plain(ids, (30, 30))])
        assert [len(party.rows) for party in parties] == [len(own)] * 2
        sent.append([party.channel.counters.bytes_sent for party in parties])
    assert sent[0] == sent[1]


@pytest.mark.parametrize("sizes", [(20, 30), (5, 40, 7), (9, 9, 9, 9)])
def test_costs_are_what_is_declared(sizes):
    """Rounds and bytes of every party, but for the keys, which are agreed before."""
    parties = played([plain([f"p{i}" for i in range(size)], sizes) for size in sizes])
    assert [party.error for party in parties] == [None] * len(sizes)
    declared, keys = costs.quote(Matching(sizes=sizes)), opening(len(sizes), KEYS)
    counted = [party.channel.counters for party in parties]
    assert {each.rounds for each in counted} == {declared.rounds - keys.rounds}
    assert [each.bytes_sent for each in counted] == [sent - keys.bytes_sent for sent in declared.bytes_sent]


def estimating(ids: Sequence[str], sizes: Sequence[int], key: bytes = KEY, ledger=None):
    """An honest party of an estimate, which gives how many of the sample are common."""
    program = derive_matching(sizes, estimate=True)

    def work(channel: MemoryChannel) -> np.ndarray:
        records, allowed = keyed_records([ids], RULES, key), ledger or ProgramLedger(program)
        return np.array(
            count(program, *bound(channel), key, records, RULES, allowed, names(len(sizes)), Entropy(), 2).sampled
        )

    return work


@pytest.mark.parametrize("world", [2, 3, 4])
def test_an_estimate_counts_a_sample_of_its_own(world):
    """What the parties count is what a join of the sampled records has; each session samples others."""
    lists = [[f"p{i}" for i in range(start, 300 + start)] for start in range(0, 20 * world, 20)]
    common, counts = set.intersection(*map(set, lists)), []
    for number in range(3):
        key = bytes([number]) * 32
        parties = played([estimating(ids, [300] * world, key) for ids in lists])
        assert [party.error for party in parties] == [None] * world
        elements = keyed_records([sorted(common)], RULES, key).elements
        sampled = int((elements[:, :8].copy().view("<u8")[:, 0] % 2 == 0).sum())
        assert [int(party.rows) for party in parties] == [sampled] * world
        assert all("match.places" not in party.channel.counters.sent_by_name for party in parties)
        counts.append(sampled)
    assert len(set(counts)) > 1
    assert all(abs(2 * sampled - len(common)) < 6 * len(common) ** 0.5 for sampled in counts)


def test_an_estimate_s_costs_are_what_is_declared():
    """Rounds and bytes, of which none depends on who is in the lists."""
    sizes = (40, 70, 55)
    parties = played([estimating([f"p{i}" for i in range(size)], sizes) for size in sizes])
    assert [party.error for party in parties] == [None] * 3
    declared, keys = costs.quote(derive_matching(sizes, estimate=True)), opening(3, KEYS)
    counted = [party.channel.counters for party in parties]
    assert {each.rounds for each in counted} == {declared.rounds - keys.rounds}
    assert [each.bytes_sent for each in counted] == [sent - keys.bytes_sent for sent in declared.bytes_sent]


@pytest.mark.parametrize("refused", ["sample-matches", "estimate"])
def test_an_estimate_that_is_not_recorded_is_not_told(refused):
    """Before the lists that all can count, and before the number goes to anybody, the node must have recorded it."""
    ids, program = [f"p{i}" for i in range(40)], derive_matching((40, 40), estimate=True)
    told: list[str] = []

    def note(disclosure: Disclosure) -> None:
        if disclosure.name == refused:
            raise DisclosureRefused("no")
        told.append(disclosure.name)

    ledger = ProgramLedger(program, note)
    parties = played([estimating(ids, (40, 40), ledger=ledger), estimating(ids, (40, 40))])
    assert isinstance(parties[0].error, DisclosureRefused)
    assert told == ([] if refused == "sample-matches" else ["sample-matches"])
    assert ("match.finals" in parties[0].channel.counters.sent_by_name) == (refused == "estimate")


def test_nothing_of_an_id_goes_over_the_channel():
    """No id, element or hash of one is in any message; two sessions share no message of points."""
    seen: list[list[bytes]] = []
    ids = [f"patient-{i:04d}" for i in range(50)]
    for session in range(2):
        messages: list[bytes] = []
        channels = MemoryChannel.mesh(2, session=bytes([session]) * 32, tap=messages.append)
        parties = played([plain(ids, (50, 50), key=bytes([session]) * 32)] * 2, channels)
        assert [party.error for party in parties] == [None, None]
        everything = b"".join(messages)
        for name in ids:
            element = keyed_records([[name]], RULES, bytes([session]) * 32).elements[0].tobytes()
            for needle in (name.encode(), element, hashlib.sha256(name.encode()).digest(), element.hex().encode()):
                assert needle not in everything
        seen.append(messages)
    points = [{m[124:][i : i + POINT_BYTES] for m in run for i in range(0, len(m) - 124, POINT_BYTES)} for run in seen]
    assert len(points[0]) > 100
    assert not [point for point in points[0] & points[1] if point[0] in {2, 3}]  # compressed points


def test_other_rules_are_noticed():
    """Parties that normalise differently, or agree on another minimum, stop at once."""
    works = [plain(["a"], (1, 1), MatchRules(minimum=minimum)) for minimum in (1, 2)]
    assert all("matches by other rules" in str(party.error) for party in played(works))


class Cheat(psi._Run):
    """A party that does not keep to the protocol in one way."""

    def __init__(self, way: str, *arguments) -> None:
        self._way = way
        super().__init__(*arguments)

    def _round(self, elements, places):
        shard = super()._round(elements, places)
        if self._way == "no points":
            shard.final = np.zeros_like(shard.final)
        if self._way == "a point twice":
            shard.final = shard.final.copy()
            shard.final[1] = shard.final[0]
        return shard

    def _pass(self, name, array, direction, shape, dtype):
        if self._way == "bytes that are no points" and name == "match.lists":
            array = np.full_like(array, 0xFF)
        if self._way == "a place that is none" and name == "match.places":
            array = array + 10**6
        if self._way == "other places" and name == "match.places":
            array = np.roll(array, 1)
        if self._way == "one place for all" and name == "match.places":
            array = np.full_like(array, array[0])
        return super()._pass(name, array, direction, shape, dtype)

    def _to_all(self, name, array, shape):
        if self._way == "another digest" and name == "match.digests":
            array = np.zeros_like(array)
        return super()._to_all(name, array, shape)


CHEATS = {
    "a point twice": "has a record twice",
    "bytes that are no points": "sent what is no point of the curve",
    "a place that is none": "named a place that the list does not have",
    "other places": "has found other records, or another order",
    "one place for all": "took back another shuffle than its own",
    "another digest": "sent other records than it had promised",
    "no points": "has a record twice",
}


@pytest.mark.parametrize("way", CHEATS)
def test_who_does_not_keep_to_the_protocol_is_named(way):
    """What can be noticed is, and the honest party says who it was."""
    ids = [f"p{i}" for i in range(40)]

    def cheat(channel: MemoryChannel) -> np.ndarray:
        return Cheat(way, *facts(channel, ids, (40, 35), 1)).result().rows

    parties = played([cheat, plain(ids[5:], (40, 35))])
    assert isinstance(parties[1].error, ProtocolError)
    assert CHEATS[way] in str(parties[1].error)
    assert "party" in str(parties[1].error)


class TwoFaced(psi._Run):
    """Party 0 of three, which sends party 2 another list than party 1, and promises each the one that it gets."""

    def __init__(self, program: Matching, channel: Chained, *arguments) -> None:
        self._honest = channel.exchange
        channel.exchange = self._exchange
        super().__init__(program, channel, *arguments)

    def _round(self, elements, places):
        shard = super()._round(elements, places)
        self._list = shard.final
        return shard

    def _exchange(self, name, outgoing, expecting):
        if name == "match.digests":
            outgoing = {**outgoing, 2: psi._digest([self._list[::-1]])}
        if name == "match.finals":
            outgoing = {**outgoing, 2: np.ascontiguousarray(outgoing[2][::-1])}
        return self._honest(name, outgoing, expecting)


def test_one_list_for_one_party_and_another_for_another_is_noticed():
    """Before anybody counts: transcripts of all lists are compared."""
    ids, sizes = [f"p{i}" for i in range(20)], (20, 20, 20)

    def cheat(channel: MemoryChannel) -> np.ndarray:
        program, records = Matching(sizes=sizes), keyed_records([ids], RULES, KEY)
        facts = *bound(channel), KEY, records, RULES, ProgramLedger(program), names(3), Entropy(), Cipher(1, Entropy())
        return TwoFaced(program, *facts).result().rows

    parties = played([cheat, plain(ids, sizes), plain(ids, sizes)])
    for party in parties[1:]:
        assert isinstance(party.error, ProtocolError)
        assert "the opened words differ" in str(party.error)


@pytest.mark.parametrize("sizes", [(30, 30), (30, 30, 30)])
def test_what_was_sent_is_signed_stage_by_stage(sizes):
    """Three statements of each party, other chains and the same records in each; one's chains are its peers'."""
    ids, signers = [f"p{i}" for i in range(30)], [Noting() for _ in sizes]
    parties = played([plain(ids, sizes, signer=signer) for signer in signers])
    assert [party.error for party in parties] == [None] * len(sizes)
    for signer in signers:
        assert [made.stage for made in signer.signed] == [1, 2, 3]
        assert len({made.block for made in signer.signed}) == 1
        for peer in signer.signed[0].sent:
            assert len({made.sent[peer] for made in signer.signed}) == 3
    assert len({signer.signed[0].block for signer in signers}) == 1  # the same records, and in this test one salt


class Lying(Chained):
    """Signs that it sent another frame of this name than it did."""

    about = ""

    def exchange(self, name, outgoing, expecting):
        if name == self.about:
            self.sent.frames(name, {next(iter(outgoing)): np.zeros(1, dtype="u1")})
        return super().exchange(name, outgoing, expecting)


@pytest.mark.parametrize(
    ("about", "unsent"),
    [("match.lists", "match.finals"), ("match.finals", "match.places"), ("match.places", "")],
)
def test_who_signs_other_words_is_found(about, unsent):
    """By whom it sent them to, before what they lead to is sent; and of places, before a row is told."""
    ids = [f"p{i}" for i in range(20)]
    liar = type("Liar", (Lying,), {"about": about})
    parties = played([plain(ids, (20, 20), chained=liar), plain(ids, (20, 20))])
    assert isinstance(parties[1].error, CommitmentsDiffer)
    assert parties[1].error.parties == (0,)
    assert parties[1].rows is None
    assert unsent not in parties[1].channel.counters.sent_by_name


def test_a_party_that_goes_away_is_named():
    """A closed channel ends the match at the others."""
    parties = played([lambda _: np.array([]), plain(["a"], (1, 1))])
    assert isinstance(parties[1].error, PeerLost)


def test_no_records_are_no_match():
    """A list without a usable id is an error before anything is sent."""
    with pytest.raises(DataError, match="no row has ids"):
        keyed_records([["", None]], RULES, KEY)


def test_secrets_are_not_printed():
    """Neither elements nor rows show in print."""
    records = keyed_records([["a", "b"]], RULES, KEY)
    assert repr(records) == "Records(2)"
    assert repr(Cipher(1, Entropy())) == "Cipher(redacted)"
    assert repr(psi.Matched(records.rows, records.elements, Transcript(KEY, b""))) == "Matched(2)"
    assert isinstance(records, Records)

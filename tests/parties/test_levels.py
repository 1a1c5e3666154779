"""Levels that several owners of a column agree on: what each tells, to whom, what all take, and who may refuse it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mpc.errors import DisclosureRefused
from mpc.simulation import Simulation
from parties.agreement.contract import Contract, levels_told
from parties.agreement.contract_text import leaves
from parties.agreement.leaving import inferences, leaving
from parties.agreement.policy import Circumstances, Policy, Unasked, check, judge, verdict
from parties.columns.encoding import ReadColumn
from parties.columns.levels import LEVEL_BYTES, joint, names, own_levels
from parties.commands.result import app
from parties.errors import DataError, PolicyRefusal
from parties.outcome import told
from parties.outcome.revealing import reveal
from parties.process.agreeing import agree_on_levels
from parties.process.job import Intent, Opened
from parties.process.matching import digest
from tests.contracts.played import quiet_program
from tests.parties.page.conftest import Clinic
from tests.parties.test_prepared_matrix import Heard, made

WARD, CLINIC = 3, 7  # caps of the contract's two columns
LEAST = 5  # its smallest bin
TEXT = st.text(min_size=1, max_size=3)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    made = Clinic(tmp_path_factory.mktemp("clinic"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def in_blocks(paper: Contract) -> Contract:
    """The first and the third party share columns, two of which have levels under a cap; the second has all rows."""
    return made(paper, "blocks", [100, 180, 80])


def column(name: str, counts: Mapping[str, int], gaps: int = 0) -> ReadColumn:
    """So many rows of each level, which a reader would have sorted."""
    levels = tuple(sorted(counts))
    places = np.repeat(np.arange(len(levels), dtype=np.float64), [counts[level] for level in levels])
    return ReadColumn(name, np.concatenate([places, np.full(gaps, np.nan)]), levels)


def columns(ward: Mapping[str, int], clinic: Mapping[str, int]) -> tuple[ReadColumn, ...]:
    rows = max(sum(ward.values()), sum(clinic.values()))
    return tuple(
        column(name, counts, rows - sum(counts.values())) for name, counts in (("ward", ward), ("clinic", clinic))
    )


OWN = (
    columns({"Zug": 40, "Aarau": 6, "Bern": 5, "Chur": 4}, {"x": 9}),
    (),
    columns({"Bern": 9, "Davos": 9, "secret": 1}, {"y": 5, "x": 5, "\u00e9" * 65: 60}),
)


def run(contract: Contract, party: Callable[[Any, Heard], Any]) -> list[tuple[Any, Heard]]:
    def one(runtime: Any) -> Any:
        heard = Heard()
        return party(runtime, heard), heard

    return Simulation(quiet_program(len(contract.parties))).run(one)


def agreeing(contract: Contract) -> Callable[[Any, Heard], Any]:
    def party(runtime: Any, heard: Heard) -> Any:
        own = OWN[runtime.rank]
        training = np.arange(len(own[0].values)) if own else np.arange(0)
        return agree_on_levels(contract, runtime.channel, runtime.keys, own, training, heard)

    return party


def test_owners_take_the_same_levels(in_blocks):
    """What anybody told, sorted; where the cap is less, what most told. Others get nothing and record it as well."""
    (first, one), (other, none), (third, two) = run(in_blocks, agreeing(in_blocks))
    assert first == third == {"ward": ("Aarau", "Bern", "Davos"), "clinic": ("x", "y")}
    assert other == {}
    asked = Intent(name="levels", recipient="parties:first,third", values=2 * (WARD + CLINIC))
    assert one.asked == none.asked == two.asked == [asked]
    assert one.told == two.told
    assert none.told == []
    (opened,) = one.told
    assert isinstance(opened, Opened)
    kept = told.Kept(
        session="0" * 64,
        clause="disclosures.0",
        name="levels",
        recipient=asked.recipient,
        count=1,
        words=opened.words,
        salt="0" * 64,
    )
    assert names(kept.numbers()) == ["Aarau", "Bern", "Zug", "x", "Bern", "Davos", "x", "y"]


def test_what_is_sent_does_not_depend_on_the_levels(in_blocks):
    """Sizes follow from the caps; a level of too few rows, or too long, is in no frame."""

    def party(runtime: Any, heard: Heard) -> Any:
        counters = runtime.channel.counters
        before = counters.rounds, counters.bytes_sent
        agreeing(in_blocks)(runtime, heard)
        return counters.rounds - before[0], counters.bytes_sent - before[1]

    header, digest = 124, 32
    owner = (2, 2 * header + (WARD + CLINIC) * LEVEL_BYTES + digest)
    assert [found for found, _ in run(in_blocks, party)] == [owner, (0, 0), owner]
    (_, heard), *_ = run(in_blocks, agreeing(in_blocks))
    (opened,) = heard.told
    assert not {"Chur", "secret"} & set(names(words_of(opened)))


def words_of(opened: Any) -> Any:
    import base64

    return np.frombuffer(base64.b64decode(opened.words), dtype="<i8")


@given(
    counts=st.dictionaries(TEXT, st.integers(0, 20), min_size=1, max_size=8),
    most=st.integers(1, 5),
    least=st.integers(1, 10),
)
def test_an_owner_tells_its_frequent_levels(counts, most, least):
    """Those that enough rows have and that can be printed, the most frequent ones, in an order that says no more."""
    can = [level for level in counts if level.isprintable() and level == level.strip() and counts[level] >= least]
    expected = sorted(can, key=lambda level: (-counts[level], level))[:most]
    assert own_levels(column("x", counts, gaps=3), most, least) == tuple(sorted(expected))


@given(lists=st.lists(st.lists(TEXT, max_size=6, unique=True), min_size=2, max_size=4), most=st.integers(1, 6))
def test_a_joint_list_has_what_most_told(lists, most):
    """Bounded by the cap, the same whatever the parties' order, and nothing that nobody told."""
    found = joint(lists, most)
    every = {level for each in lists for level in each}
    told_by = {level: sum(level in each for each in lists) for level in every}
    assert found == joint(lists[::-1], most)
    assert list(found) == sorted(found)
    assert len(found) == min(most, len(every))
    left = every - set(found)
    assert not left or max(told_by[level] for level in left) <= min(told_by[level] for level in found)


def test_nothing_leaves_before_it_is_recorded(in_blocks):
    """Whose node refuses sends no frame."""

    class Refusing(Heard):
        def ask(self, intent: Intent) -> None:
            raise DisclosureRefused(f"'{intent.name}' was not recorded")

    def party(runtime: Any, _: Heard) -> Any:
        with pytest.raises(DisclosureRefused, match="levels"):
            agreeing(in_blocks)(runtime, Refusing())
        return runtime.channel.counters.sent_by_name.get("levels", 0)

    assert [sent for sent, _ in run(in_blocks, party)] == [0, 0, 0]


def slots(*levels: bytes) -> np.ndarray:
    found = np.zeros((WARD + CLINIC, LEVEL_BYTES), dtype=np.uint8)
    for place, level in enumerate(levels):
        found[place, : len(level)] = np.frombuffer(level, dtype=np.uint8)
    return found


BAD_SLOTS = {
    "not text": slots(b"\xff"),
    "out of order": slots(b"b", b"a"),
    "twice": slots(b"a", b"a"),
    "after a gap": slots(b"", b"a"),
    "a line break": slots(b"a\nb"),
    "blanks": slots(b" a"),
    "a zero byte": slots(b"a\0b"),
}


@pytest.mark.parametrize("bad", BAD_SLOTS.values(), ids=BAD_SLOTS)
def test_levels_that_are_none_are_refused(in_blocks, bad):
    """A partner that sends anything but sorted printable levels is named; nothing of it is taken or printed."""

    def party(runtime: Any, heard: Heard) -> Any:
        if runtime.rank == 2:
            runtime.channel.exchange("levels", {0: bad}, {0: ("u1", bad.shape)})
        elif runtime.rank == 0:
            with pytest.raises(DataError, match="what third sent as levels are none"):
                agreeing(in_blocks)(runtime, heard)

    run(in_blocks, party)


def test_partners_who_are_told_different_levels_notice(paper):
    """Of three partners one tells the others different lists: these end the session."""
    by_rows = made(paper, "rows", [60, 60, 60])

    def party(runtime: Any, heard: Heard) -> Any:
        rank = runtime.rank
        if rank == 1:
            told_apart = {0: "b", 2: "c"}
            sent = {peer: slots(level.encode()) for peer, level in told_apart.items()}
            runtime.channel.exchange("levels", sent, dict.fromkeys(sent, ("u1", sent[0].shape)))
            key = runtime.keys.parties_key("joint levels")
            agreeing_with = {
                peer: np.frombuffer(digest(key, ["ward", "2", "Bern", level, "clinic", "1", "x"]), dtype="u1")
                for peer, level in told_apart.items()
            }
            runtime.channel.exchange("joint levels", agreeing_with, dict.fromkeys(agreeing_with, ("u1", (32,))))
            return ""
        own = columns({"Bern": 9}, {"x": 9})
        with pytest.raises(DataError, match="were told different levels") as error:
            agree_on_levels(by_rows, runtime.channel, runtime.keys, own, np.arange(9), heard)
        return str(error.value)

    first, _, third = (found for found, _ in run(by_rows, party))
    assert "first and third were told different levels" in first
    assert "third and first" in third
    assert "Bern" not in first + third


def test_the_contract_says_what_is_told(in_blocks):
    """To whom, and how many at most; the operator reads the columns' names, and the others' operators do not act."""
    (item,) = (each for each in in_blocks.disclosures if each.name == "levels")
    assert (item.recipient, item.count, item.values) == ("parties:first,third", 1, 2 * (WARD + CLINIC))
    assert ": 20 levels, once at most, to us, third" in leaves(in_blocks, "first")
    (line,) = (each for each in leaving(in_blocks, "first") if each.clause == item.clause)
    assert line.outside
    assert line.to == "us, third"
    told = [sentence for sentence in inferences(in_blocks, "first") if "are told names of levels" in sentence]
    assert len(told) == 1
    assert told[0].startswith("third, and nobody else")
    assert "ward, clinic" in told[0]
    assert f"at least {LEAST} of our training records" in told[0]
    assert not [sentence for sentence in inferences(in_blocks, "second") if "names of levels" in sentence]


def test_without_a_cap_nothing_is_told(paper):
    """Where nothing is divided, or levels are listed, there is no such disclosure."""
    by_columns = made(paper, "columns", [180] * 3)
    assert not by_columns.discloses("levels")
    assert by_columns.agreed_columns(2) == ()
    assert levels_told(by_columns.division, by_columns.parties, by_columns.preparation) == ()


def judged(policy: Policy, contract: Contract) -> tuple[str, list[str]]:
    found = judge(policy, contract, "first", Circumstances(datetime.now(UTC)))
    return verdict(found), [one.rule for one in found if one.verdict != "holds"]


def test_a_policy_asks_or_refuses(in_blocks):
    """By default levels wait for the operator even where other contracts are signed unasked."""
    rows = {"max_columns_per_100_rows": 1000, "min_cell_rows": LEAST}
    every = Unasked(disclosures=Policy().disclosures, **rows)
    most = Unasked(disclosures=tuple(set(Policy().disclosures) - {"levels"}), **rows)
    assert judged(Policy(approve="automatic", automatic=every, **rows), in_blocks) == ("holds", [])
    assert judged(Policy(approve="automatic", automatic=most, **rows), in_blocks) == ("asks", ["disclosures"])
    fewer = tuple(name for name in Policy().disclosures if name != "levels")
    refusing = judge(Policy(disclosures=fewer, **rows), in_blocks, "first", Circumstances(datetime.now(UTC)))
    with pytest.raises(PolicyRefusal, match="the contract discloses levels"):
        check(refusing)
    assert "levels" not in Unasked().disclosures


def test_a_policy_bounds_the_rows_behind_a_level(paper):
    """The smallest cell of a policy is that of levels too."""
    contract = made(paper, "blocks", [100, 180, 80])
    assert contract.preparation.smallest_bin == LEAST
    lax = contract.model_copy(update={"program": quiet_program(3)})
    found = judge(Policy(max_columns_per_100_rows=1000), lax, "first", Circumstances(datetime.now(UTC)))
    assert [one.reason for one in found if one.rule == "min_cell_rows"] == [
        f"levels have cells of {LEAST} rows; the policy asks for 10"
    ]


def test_a_level_that_was_told_can_be_shown(clinic, paper, tmp_path):
    """As other values: its salted digest is in the log, and whoever is shown the file reads the names."""
    contract = made(paper, "blocks", [100, 180, 80])
    parties = (contract.parties[0].model_copy(update={"name": "clinic-a"}), *contract.parties[1:])
    contract = contract.model_copy(
        update={
            "parties": parties,
            "disclosures": tuple(
                item.model_copy(update={"recipient": item.recipient.replace("first", "clinic-a")})
                for item in contract.disclosures
            ),
        }
    )
    words = np.frombuffer(slots(b"Bern", "Z\u00fcrich".encode()).tobytes(), dtype="<i8")
    clinic.node.store.receive(contract.digest, contract.canonical().decode())
    clinic.node.told.keep(contract, Opened.of("levels", "parties:clinic-a,third", words))
    (item,) = (each for each in contract.disclosures if each.name == "levels")
    file = tmp_path / "shown.json"
    file.write_text(reveal(clinic.home, contract.digest, item.clause, 1).model_dump_json())
    done = CliRunner().invoke(app, ["check", str(file), "--key", clinic.home.identity.fingerprint])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-2:] == ["Bern", "Z\u00fcrich"]

"""What the gateway's store promises on every database. A test class derives from it and says how to open one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert

from gateway.access.accounts import Accounts, TokenAsked
from gateway.access.principal import BOOTSTRAP
from gateway.access.tokens import PersonalToken
from gateway.coordination.course import Course
from gateway.errors import KeyReused, NotFound, Unauthorised
from gateway.planning.resolve import Directory, Listed, resolve
from gateway.storage.login_rows import MOST, LoginRow
from gateway.storage.selection import Selection
from gateway.storage.store import Mark, Store
from gateway.storage.tables import Base
from gateway.storage.token_rows import TokenRecord
from parties.agreement.kinds import AnyContract
from parties.agreement.plan import parse_plan
from parties.data.schema import Column, Schema
from parties.errors import LifecycleError
from parties.service.lifecycle import FINAL, State, Step, advance
from parties.service.messages import Fault, Finished, MeasuredLink, PublishedData

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DEADLINE_S = 60
FAULT = Fault(code="cancelled", who="gateway", what="the analyst cancelled the session")
PEOPLE = ("clinic-a", "clinic-b", "dealer")


@cache
def contract(number: int, *, other: str = "clinic-b") -> AnyContract:
    """A training of clinic-a and another, proposed so many minutes after NOW."""
    column = Column(name="age", kind="number", complete=True)
    label = Column(name="outcome", kind="category", complete=True)
    table = Schema(name="cohort", rows=100, id_column="patient", columns=(column, label))
    data = {"cohort": PublishedData(table=table, version="ab" * 16)}
    listed = {name: Listed(name, "party", f"{place:02x}" * 32, data) for place, name in enumerate(("clinic-a", other))}
    listed["dealer"] = Listed("dealer", "dealer", "dd" * 32, {})
    plan = parse_plan(
        {
            "purpose": "predict the outcome",
            "legal_basis": "consent",
            "parties": [{"name": name, "data": "cohort", "columns": ["age"]} for name in ("clinic-a", other)],
            "label": {"party": "clinic-a", "column": "outcome", "positive": "yes"},
        }
    )
    return resolve(plan, Directory(listed), NOW + timedelta(minutes=number), number.to_bytes(32, "big"))


ACCOUNTS = (("ada", "clinic-a"), ("bob", "clinic-b"), ("ada", "clinic-a"))


def token(number: int, account: str, organisation: str) -> TokenRecord:
    """One that was made so many minutes after NOW."""
    made = NOW + timedelta(minutes=number)
    return TokenRecord(
        f"{number:012x}",
        f"{number:064x}",
        account,
        organisation,
        "compliance",
        number == 1,
        made,
        "boss",
        made + timedelta(days=30),
    )


def asked_of(organisation: str, days: int = 30) -> TokenAsked:
    return TokenAsked(account="ada", organisation=organisation, role="analyst", days=days)


class StoreSuite:
    """Derive, and override `open`: each call is another connection to the test's one database."""

    def open(self, place: Path) -> Store:
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with closing(self.open(tmp_path)) as opened:
            yield opened

    @pytest.fixture
    def other(self, tmp_path: Path, store: Store) -> Iterator[Store]:
        """Another process's."""
        with closing(self.open(tmp_path)) as opened:
            yield opened

    def test_transaction_is_all_or_nothing(self, store: Store):
        """What raises inside a transaction leaves nothing of it behind."""

        def half() -> None:
            with store.transaction() as rows:
                rows.invite("clinic-a", "party", "authority", NOW)
                raise ValueError("half way")

        with pytest.raises(ValueError, match="half way"):
            half()
        with store.transaction() as rows:
            assert rows.members() == []

    def test_other_process_sees_what_is_committed(self, store: Store, other: Store):
        """Two connections, as `invite` and the daemon have, see each other's commits."""
        with store.transaction() as rows:
            rows.invite("clinic-a", "dealer", "authority", NOW)
        with other.transaction() as rows:
            (member,) = rows.members()
        assert (member.name, member.role, member.invited, member.public_key) == ("clinic-a", "dealer", NOW, None)
        assert other.authorities(NOW, 1) == b"authority"
        assert other.authorities(NOW + timedelta(hours=2), 1) == b""

    def test_reading_sees_one_moment_and_waits_for_nobody(self, store: Store, other: Store):
        """Who reads sees what was committed at its begin, also while another writes and after it has."""
        with store.transaction() as writing:
            writing.invite("clinic-a", "party", "authority", NOW)
            with other.reading() as rows:
                assert rows.members() == []
        with other.reading() as rows:
            assert len(rows.members()) == 1
            with store.transaction() as writing:
                writing.invite("clinic-b", "party", "authority", NOW)
            assert len(rows.members()) == 1

    def test_of_two_transactions_one_waits(self, store: Store, other: Store):
        """A state that was read holds until the commit: of two that would step, the second sees the first's state."""
        with store.transaction() as rows:
            rows.add_session(contract(1), "{}", "consortium")
        outcomes: list[State | None] = []
        begun = threading.Barrier(2)

        def step(opened: Store, which: Step, to: State) -> None:
            begun.wait(DEADLINE_S)
            moved = None
            with suppress(LifecycleError), opened.transaction() as rows:
                record = rows.session(contract(1).digest)
                assert record is not None
                assert advance(record.state, which) is to
                moved = rows.set_state(record.digest, to, FAULT).state
            outcomes.append(moved)

        racers = [
            threading.Thread(target=step, args=(store, Step.CANCEL, State.CANCELLED)),
            threading.Thread(target=step, args=(other, Step.EXPIRE, State.EXPIRED)),
        ]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(DEADLINE_S)
        (won,) = [state for state in outcomes if state]
        assert len(outcomes) == 2
        with other.reading() as rows:
            found = rows.session(contract(1).digest)
            assert found is not None
            assert (found.state, found.fault) == (won, FAULT)

    def test_the_slowest_connection_among_some(self, store: Store):
        """The last round trip of each counts, and the last rate that was known; strangers' connections do not."""
        with store.transaction() as rows:
            for name in ("clinic-a", "clinic-b", "dealer"):
                rows.invite(name, "party", "authority", NOW)
            rows.links.measure("clinic-a", MeasuredLink(name="clinic-b", round_trip_us=70, bytes_a_second=9))
            rows.links.measure("clinic-a", MeasuredLink(name="clinic-b", round_trip_us=50))
            rows.links.measure("clinic-b", MeasuredLink(name="clinic-a", round_trip_us=60, bytes_a_second=2**40))
            rows.links.measure("clinic-a", MeasuredLink(name="dealer", round_trip_us=80, bytes_a_second=5))
        with store.reading() as rows:
            assert rows.links.slowest(["clinic-a", "clinic-b"]) == (60, 9)
            assert rows.links.slowest(["clinic-b", "dealer"]) == (None, None)

    def test_sessions_come_back_as_they_were_written(self, store: Store):
        """Contract, times, state and every participant's word."""
        made, digest = contract(1), contract(1).digest
        finished = Finished(session=digest, seconds=1, rounds=2, bytes_sent=3)
        progress = Course(session=digest, iteration=1, of=2, rounds=3, bytes_sent=4, loss=0.5)
        with store.transaction() as rows:
            rows.add_session(made, "{}", "consortium")
            for _ in range(2):  # the second replaces the first
                rows.approve(digest, "clinic-a", {"payload": "é"})
                rows.withdraw(digest, "clinic-b", {"payload": "b"})
                rows.report("dealer", finished)
                rows.set_progress("clinic-a", progress)
        with store.reading() as rows:
            record = rows.session(digest)
            assert record is not None
            assert (record.contract, record.state, record.fault) == (made, State.PROPOSED, None)
            assert (record.created, record.expires) == (made.created, made.expires)
            assert rows.approvals(digest) == {"clinic-a": {"payload": "é"}}
            assert rows.withdrawals(digest) == {"clinic-b": {"payload": "b"}}
            assert rows.reports(digest) == {"dealer": finished}
            assert rows.progress(digest) == {"clinic-a": progress}
            assert rows.withdrawn_beside("clinic-a") == [(digest, "clinic-b", {"payload": "b"})]
            assert rows.withdrawn_beside("clinic-b") == []
            assert rows.session("0" * 64) is None

    def test_who_is_waited_for_is_kept(self, store: Store):
        """Why an operator must decide stands until it has, or until the session is over."""
        with store.transaction() as rows:
            for number in (1, 3):
                rows.add_session(contract(number), "{}", "consortium")
                rows.wait(contract(number).digest, "clinic-a", "a rule asks")
                rows.wait(contract(number).digest, "clinic-b", "a rule asks")
                rows.wait(contract(number).digest, "clinic-b", "another rule asks")
            rows.wait_no_more(contract(1).digest, "clinic-a")
            rows.wait_no_more(contract(3).digest)
        with store.reading() as rows:
            assert rows.waiting(contract(1).digest) == {"clinic-b": "another rule asks"}
            assert rows.waiting(contract(3).digest) == {}
            assert rows.count_waiting() == 1

    def test_lists_select_in_order(self, store: Store):
        """By state, kind and participant, page after page, newest first; what is open or unexpired, oldest first."""
        with store.transaction() as rows:
            for number in range(6):
                other = "clinic-b" if number % 2 else "clinic-c"
                rows.add_session(contract(number, other=other), "{}", "consortium")
            done = contract(3)
            rows.set_state(done.digest, State.CANCELLED, FAULT)
        with store.reading() as rows:

            def numbers(selection: Selection) -> list[int]:
                digests = [mark.digest for mark in rows.marks(selection)]
                created = {record.digest: record.created for record in rows.records(digests)}
                return [(created[digest] - NOW) // timedelta(minutes=1) for digest in digests]

            assert numbers(Selection()) == [5, 4, 3, 2, 1, 0]
            assert numbers(Selection(participant="clinic-b")) == [5, 3, 1]
            assert numbers(Selection(participant="dealer", states=(State.PROPOSED,), limit=3)) == [5, 4, 2]
            assert numbers(Selection(states=(State.CANCELLED, State.FAILED))) == [3]
            assert numbers(Selection(kind="training", limit=2)) == [5, 4]
            assert numbers(Selection(kind="matching")) == []
            assert numbers(Selection(cursor=contract(4, other="clinic-c").digest, limit=2)) == [3, 2]
            assert len(rows.open_sessions()) == rows.count_open() == 5
            assert [record.digest for record in rows.open_sessions("clinic-b")] == [
                contract(1).digest,
                contract(5).digest,
            ]
            assert len(rows.unexpired_sessions("clinic-b", NOW)) == 3
            assert len(rows.unexpired_sessions("clinic-b", done.expires)) == 2
            assert rows.count_by_state()[State.PROPOSED] == 5
            assert rows.count_by_state()[State.CANCELLED] == 1
            assert {rows.count_by_state()[state] for state in FINAL - {State.CANCELLED}} == {0}

    def test_texts_are_found_as_they_stand(self, store: Store):
        """By the beginning of an id or a part of the purpose, in capitals or not; LIKE's signs mean themselves."""
        with store.transaction() as rows:
            for number, purpose in enumerate(("Predict 100% of it", "predict_all", "something / else")):
                rows.add_session(contract(number).model_copy(update={"purpose": purpose}), "{}", "consortium")
            digests = [mark.digest for mark in rows.marks()][::-1]
        with store.reading() as rows:

            def found(text: str) -> list[int]:
                return sorted(digests.index(mark.digest) for mark in rows.marks(Selection(text=text)))

            assert found("PREDICT") == [0, 1]
            assert (found("%"), found("t_a"), found("/"), found("t%a")) == ([0], [1], [2], [])
            assert found(digests[1][:12].upper()) == [1]
            assert found(digests[1][1:]) == []

    def test_whatever_is_shown_counts_as_a_change(self, store: Store):
        """Each word of a participant, and each state, lets a session count one more; another's stands."""
        digest, beside = contract(1).digest, contract(3).digest
        with store.transaction() as rows:
            for number in (1, 3):
                rows.add_session(contract(number), "{}", "consortium")
        for number, change in enumerate(
            (
                lambda rows: rows.approve(digest, "clinic-a", {"payload": "a"}),
                lambda rows: rows.wait(digest, "clinic-b", "a rule asks"),
                lambda rows: rows.wait_no_more(digest, "clinic-b"),
                lambda rows: rows.withdraw(digest, "clinic-b", {"payload": "b"}),
                lambda rows: rows.set_progress(
                    "clinic-a", Course(session=digest, iteration=1, of=2, rounds=3, bytes_sent=4)
                ),
                lambda rows: rows.report("dealer", Finished(session=digest, seconds=1, rounds=2, bytes_sent=3)),
                lambda rows: rows.set_state(digest, State.CANCELLED, FAULT),
            ),
            start=1,
        ):
            with store.transaction() as rows:
                change(rows)
                inside = rows.mark(digest)
            with store.reading() as rows:
                assert inside == rows.mark(digest) == Mark(digest, number)
                assert rows.mark(beside) == Mark(beside, 0)

    def test_a_session_is_seen_by_those_whom_it_concerns(self, store: Store):
        """By its participants and who proposed it; they are partners of those who take part, and of nobody else."""
        digest = contract(1).digest
        with store.transaction() as rows:
            rows.add_session(contract(1), "{}", "clinic-x")
            rows.add_session(contract(2, other="clinic-c"), "{}", "clinic-a")
        with store.reading() as rows:
            names = ("clinic-a", "clinic-b", "clinic-c", "clinic-x", "dealer", "consortium")
            assert [name for name in names if rows.mark(digest, name)] == [
                "clinic-a",
                "clinic-b",
                "clinic-x",
                "dealer",
            ]
            assert rows.partners("clinic-a") == {"clinic-a", "clinic-b", "clinic-c", "dealer"}
            assert rows.partners("clinic-b") == {"clinic-a", "clinic-b", "dealer"}
            assert rows.partners("clinic-x") == {"clinic-a", "clinic-b", "clinic-x", "dealer"}
            assert rows.partners("clinic-y") == {"clinic-y"}
            assert rows.contract(digest) == contract(1).canonical().decode()

    def test_pages_go_on_among_sessions_of_one_moment(self, store: Store):
        """Sessions proposed in the same second are each on one page."""
        made = [contract(0, other=f"clinic-{letter}") for letter in "bcdef"]
        with store.transaction() as rows:
            for one in made:
                rows.add_session(one, "{}", "consortium")
        found: list[str] = []
        with store.reading() as rows:
            while page := rows.marks(Selection(cursor=found[-1] if found else None, limit=2)):
                found += [mark.digest for mark in page]
        assert sorted(found) == sorted(one.digest for one in made)

    def test_keys_are_shared_and_forgotten(self, store: Store, other: Store):
        """An idempotency key that one process stored is known to another, until its time is over."""
        with store.transaction() as rows:
            rows.add_session(contract(1), "{}", "consortium")
            rows.remember_key("aa" * 32, "bb" * 32, contract(1).digest, NOW)
        with other.transaction() as rows:
            assert rows.keyed("aa" * 32) == ("bb" * 32, contract(1).digest)
            rows.forget_keys(NOW + timedelta(seconds=1))
        with store.reading() as rows:
            assert rows.keyed("aa" * 32) is None

    def test_logins_are_shared_and_end(self, store: Store, other: Store):
        """What one process lets in, another knows, until it is over or taken; a code is no cookie."""
        end, late = NOW + timedelta(minutes=10), NOW + timedelta(hours=1)
        with store.transaction() as rows:
            rows.logins.add("code", "aa" * 32, BOOTSTRAP, end, NOW)
            rows.logins.add("cookie", "bb" * 32, BOOTSTRAP, late, NOW)
        with other.transaction() as rows:
            assert rows.logins.find("code", "aa" * 32, NOW) == rows.logins.find("cookie", "bb" * 32, NOW) == BOOTSTRAP
            assert rows.logins.find("cookie", "aa" * 32, NOW) is None
            assert rows.logins.find("code", "aa" * 32, end) is None
            assert rows.logins.take("code", "bb" * 32, NOW) is None
            assert rows.logins.take("code", "aa" * 32, NOW) == BOOTSTRAP
        with store.transaction() as rows:
            assert rows.logins.take("code", "aa" * 32, NOW) is None
            assert rows.logins.find("cookie", "bb" * 32, NOW) == BOOTSTRAP
            rows.logins.add("cookie", "cc" * 32, BOOTSTRAP, late + timedelta(hours=1), late)  # the other is over
            assert rows.logins.end_all() == 1

    def test_ended_logins_wait_for_the_audit_log(self, store: Store, other: Store):
        """Those of a token, and all that are left: nobody's any more, and kept until that is recorded."""
        late, by_token = NOW + timedelta(hours=1), replace(BOOTSTRAP, account="ada", token="t1")
        with store.transaction() as rows:
            for number, who in enumerate([by_token, replace(by_token, token="t2"), BOOTSTRAP]):
                rows.logins.add("cookie", f"{number}" * 64, who, late, NOW)
            rows.logins.add("code", "f" * 64, BOOTSTRAP, late, NOW)
            rows.logins.end_of("t1")
            assert rows.logins.ended() == [("revoked", by_token)]
            assert rows.logins.find("cookie", "0" * 64, NOW) is None
            assert rows.logins.find("cookie", "1" * 64, NOW) is not None
        with other.transaction() as rows:
            assert rows.logins.end_all() == 2
            assert rows.logins.find("code", "f" * 64, NOW) is None
        with store.transaction() as rows:
            rows.logins.add("code", "e" * 64, BOOTSTRAP, late + timedelta(hours=2), late)  # what is over is forgotten
            assert sorted(kind for kind, _ in rows.logins.ended()) == ["ended", "ended", "revoked"]
            rows.logins.forget_ended()
        with other.reading() as rows:
            assert rows.logins.ended() == []
            assert rows.logins.find("code", "e" * 64, NOW) == BOOTSTRAP

    def test_of_too_many_logins_the_oldest_is_forgotten(self, store: Store):
        """Whoever may ask for logins can't fill the database with them."""
        with store.transaction() as rows:
            ends = [NOW + timedelta(minutes=number + 1) for number in range(MOST)]
            rows._connection.execute(
                insert(LoginRow.__table__),
                [{"sha256": str(at.timestamp()), "kind": "cookie", "until": at, "principal": "{}"} for at in ends],
            )
            rows.logins.add("cookie", "ff" * 32, BOOTSTRAP, NOW + timedelta(days=100), NOW)
            assert rows.logins.find("cookie", "ff" * 32, NOW) == BOOTSTRAP
            assert rows.logins.end_all() == MOST

    def test_who_was_connected_is_kept(self, store: Store, other: Store):
        """When, with which release, and when it left; another's head as partners cosigned it, the newest of each."""
        with store.transaction() as rows:
            for name in PEOPLE:
                rows.invite(name, "party", "authority", NOW)
            rows.came("clinic-a", "0.1.0", NOW)
            rows.left("clinic-a", NOW + timedelta(minutes=1))
            rows.came("clinic-b", "0.2.0", NOW)
            for note in ("first", "second"):
                rows.keep_cosigned("clinic-a", "clinic-b", note)
            rows.keep_cosigned("clinic-a", "dealer", "another")
        with other.reading() as rows:
            found = {one.name: (one.version, one.since, one.left) for one in rows.members()}
            assert found == {
                "clinic-a": ("0.1.0", NOW, NOW + timedelta(minutes=1)),
                "clinic-b": ("0.2.0", NOW, None),
                "dealer": (None, None, None),
            }
            assert rows.cosigned() == {"clinic-a": ("second", "another")}

    def test_what_is_published_is_replaced_whole(self, store: Store):
        """An owner's list is what it said last; another's stays."""
        table = Schema(name="cohort", rows=1, id_column="id", columns=())
        with store.transaction() as rows:
            for name in ("clinic-a", "clinic-b"):
                rows.invite(name, "party", "authority", NOW)
        for names in (("one", "two"), ("two", "three")):
            with store.transaction() as rows:
                data = [
                    PublishedData(table=table.model_copy(update={"name": name}), version="cd" * 16) for name in names
                ]
                rows.publish("clinic-a", tuple(data))
        with store.reading() as rows:
            assert sorted(rows.published("clinic-a")) == ["three", "two"]
            assert rows.published("clinic-b") == {}

    def test_a_participant_joins_once(self, store: Store):
        """Key and certificate are pinned; an invitation under that name is refused from then on."""
        with store.transaction() as rows:
            rows.invite("clinic-a", "party", "first", NOW)
            rows.invite("clinic-a", "party", "second", NOW)
            assert rows.unrecorded() == ["clinic-a"]
            rows.mark_recorded("clinic-a")
            rows.join("clinic-a", "ab" * 32, "cd" * 32, NOW)
            rows.set_head("clinic-a", "a head\n")
        with store.transaction() as rows:
            member = rows.member("clinic-a")
            assert member is not None
            assert (member.authority, member.public_key, member.head) == ("second", "ab" * 32, "a head\n")
            assert rows.unrecorded() == []
            with pytest.raises(Exception, match="has joined already"):
                rows.invite("clinic-a", "party", "third", NOW)

    def test_a_key_that_was_handed_over_is_replaced(self, store: Store, other: Store):
        """The key that follows is pinned in the place of the one before; all else of it, and every other, stays."""
        with store.transaction() as rows:
            for name, key in (("clinic-a", "ab" * 32), ("clinic-b", "cd" * 32)):
                rows.invite(name, "party", "authority", NOW)
                rows.join(name, key, "ef" * 32, NOW)
        with other.transaction() as rows:
            before = rows.members()
            rows.replace_key("clinic-a", "12" * 32)
        with store.reading() as rows:
            assert rows.members() == [replace(before[0], public_key="12" * 32), before[1]]

        def undone() -> None:
            with store.transaction() as rows:
                rows.replace_key("clinic-b", "34" * 32)
                raise ValueError("half way")

        with pytest.raises(ValueError, match="half way"):
            undone()
        with other.reading() as rows:
            assert rows.member("clinic-b") == before[1]

    def test_tokens_come_back_as_they_were_written(self, store: Store, other: Store):
        """Every field, by id and in lists by organisation and account, oldest first; there is none of another id."""
        made = [token(number, account, of) for number, (account, of) in enumerate(ACCOUNTS)]
        with store.transaction() as rows:
            for one in reversed(made):
                rows.tokens.add(one)
            assert rows.tokens.find(made[0].id) == made[0]
        with other.reading() as rows:
            assert [rows.tokens.find(one.id) for one in made] == rows.tokens.all() == made
            assert rows.tokens.find("f" * 12) is None
            assert rows.tokens.all(organisation="clinic-a") == [made[0], made[2]]
            assert rows.tokens.all(account="bob") == [made[1]]
            assert rows.tokens.all(organisation="clinic-b", account="ada") == []

    def test_a_token_s_use_and_end_are_kept(self, store: Store, other: Store):
        """When it was used last, when and by whom it was revoked, and how much of that the audit log has."""
        made, beside = token(1, "ada", "clinic-a"), token(2, "bob", "clinic-a")
        later = NOW + timedelta(days=1, microseconds=1)
        with store.transaction() as rows:
            rows.tokens.add(made)
            rows.tokens.add(beside)
            assert rows.tokens.unrecorded() == [made, beside]
            rows.tokens.mark_recorded(made.id, 1)
            rows.tokens.mark_recorded(beside.id, 1)
            rows.tokens.use(made.id, later)
        with other.transaction() as rows:
            assert rows.tokens.unrecorded() == []
            rows.tokens.revoke(made.id, "boss", later)
            ended = replace(made, recorded=1, last_used=later, revoked=later, revoked_by="boss")
            assert rows.tokens.unrecorded() == [ended]
        with store.transaction() as rows:
            assert rows.tokens.find(made.id) == ended
            assert rows.tokens.find(beside.id) == replace(beside, recorded=1)
            rows.tokens.mark_recorded(made.id, 2)
            assert rows.tokens.unrecorded() == []

    def test_a_token_lets_in_until_it_ends(self, store: Store, other: Store):
        """What one process made another takes, until its time is over or somebody revokes it; a wrong secret never."""
        clock = [NOW]
        here, there = (Accounts(opened, None, lambda: clock[0]) for opened in (store, other))
        ends, revoked = (here.create(asked_of("consortium", days=days))[0] for days in (1, 30))
        wrong = PersonalToken(f"{revoked.reveal()[:-1]}{'A' if revoked.reveal()[-1] != 'A' else 'B'}")
        assert [there.principal(one) is not None for one in (ends, revoked, wrong)] == [True, True, False]
        clock[0] += timedelta(days=1) - timedelta(microseconds=1)
        assert there.holds(ends.id)
        clock[0] += timedelta(microseconds=1)
        assert not there.holds(ends.id)
        with pytest.raises(Unauthorised, match="ended on 2026-11-25"):
            there.principal(ends)
        assert here.revoke(revoked.id, "boss").revoked == clock[0]
        assert there.revoke(revoked.id, "another").revoked_by == "boss"
        with pytest.raises(Unauthorised, match="was revoked"):
            there.principal(revoked)
        with pytest.raises(NotFound):
            here.revoke("f" * 12)

    def test_under_one_key_a_token_is_made_once(self, store: Store, other: Store):
        """Two processes that are asked under one key make one; under an account's own key, another's is another."""
        here, there = (Accounts(opened, None, lambda: NOW) for opened in (store, other))
        made, _ = here.create(asked_of("consortium"), "ada", None, "once")
        with pytest.raises(KeyReused, match=made.id):
            there.create(asked_of("consortium"), "ada", None, "once")
        there.create(asked_of("consortium"), "bob", None, "once")
        assert len(here.all()) == 2

    def test_messages_wait_until_they_are_fetched(self, store: Store, other: Store):
        """Of each slot the newest, in the order in which they came, once; those for others go on waiting."""
        with store.transaction() as rows:
            for name in PEOPLE:
                rows.invite(name, "party", "authority", NOW)
            for sender, slot, content in (
                ("clinic-a", "one", "first"),
                ("clinic-b", "one", "of another"),
                ("clinic-a", "two", "é"),
                ("clinic-a", "one", "second"),
            ):
                rows.gateways.keep_relayed("dealer", sender, slot, content, 8)
            rows.gateways.keep_relayed("clinic-b", "clinic-a", "one", "for clinic-b", 8)
            assert rows.gateways.count_relayed() == 4
        with other.transaction() as rows:
            assert rows.gateways.take_relayed("dealer") == ["of another", "é", "second"]
            assert rows.gateways.take_relayed("dealer") == []
            assert rows.gateways.take_relayed("clinic-a") == []
        with store.reading() as rows:
            assert rows.gateways.count_relayed() == 1

    def test_of_one_sender_the_newest_messages_wait(self, store: Store):
        """A participant can't fill the database for one who is away, nor push another's messages out."""
        with store.transaction() as rows:
            for name in PEOPLE:
                rows.invite(name, "party", "authority", NOW)
            rows.gateways.keep_relayed("dealer", "clinic-b", "s", "another's", 3)
            for number in range(5):
                rows.gateways.keep_relayed("dealer", "clinic-a", f"slot {number}", str(number), 3)
        with store.transaction() as rows:
            assert rows.gateways.take_relayed("dealer") == ["another's", "2", "3", "4"]

    def test_messages_of_a_step_that_is_undone_stay(self, store: Store, other: Store):
        """Fetched in a transaction that fails they wait still: nobody has them."""
        with store.transaction() as rows:
            for name in PEOPLE:
                rows.invite(name, "party", "authority", NOW)
            rows.gateways.keep_relayed("dealer", "clinic-a", "one", "first", 8)

        def half() -> None:
            with store.transaction() as rows:
                assert rows.gateways.take_relayed("dealer") == ["first"]
                rows.gateways.keep_relayed("dealer", "clinic-a", "two", "second", 8)
                raise ValueError("half way")

        with pytest.raises(ValueError, match="half way"):
            half()
        with other.transaction() as rows:
            assert rows.gateways.take_relayed("dealer") == ["first"]

    def test_revisions_make_the_tables_of_the_models(self, store: Store):
        """Nothing is left that alembic would change: tables, columns, types, keys and indexes are the models'."""
        with store._engine.begin() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, Base.metadata) == []

"""How a session's processes meet: exactly the approved ones, through real doors, and nobody is waited for for ever."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from pydantic import SecretStr

from mpc.errors import PeerLost
from mpc.matching_program import derive_matching
from parties.agreement.contract import Contract
from parties.agreement.quote import quote
from parties.errors import PartnerError
from parties.keys.tls import TlsKey, utc_now, worker_context
from parties.process.dealer_link import DealerLink
from parties.process.job import Job, TlsMaterial
from parties.process.links import Greeting, TlsChannel, dial, secure
from parties.process.meeting import (
    PARTY_S,
    ROUND_S,
    SLOWNESS,
    connect_dealer,
    connect_parties,
    connect_peers,
    party_s,
    round_s,
)
from tests.parties.conftest import draft_matching
from tests.parties.doors import Opened, opened
from tests.parties.wires import DEADLINE_S, at_once


def test_patience_grows_with_the_work(contract):
    """A round may take several times what the whole run is quoted at; the dealer, to which a matching says nothing
    until its end, waits longer than any party for another."""
    short = draft_matching(contract)
    assert (round_s(short), party_s(short)) == (ROUND_S, PARTY_S)
    long = quote(derive_matching([10_000_000, 10_000_000]))
    session = short.model_copy(update={"quote": long})
    assert round_s(session) == SLOWNESS * long.seconds > 3600
    assert party_s(session) == 4 * round_s(session)


NAMES = ("clinic-a", "clinic-b", "dealer")


class Town:
    """The doors of two clinics and a dealer, and what each one's process is told of their session."""

    def __init__(self, consortium, doors: dict[str, Opened]) -> None:
        self.contract: Contract = consortium.contract
        self.keys: dict[str, TlsKey] = consortium.keys
        self.doors = doors
        self.approvals = {name: consortium.approval(name, endpoint=doors[name].endpoint) for name in NAMES}

    def job(self, name: str, **changed) -> Job:
        """The session is live at its door from now on."""
        told = {
            "name": name,
            "contract": self.contract.canonical().decode(),
            "approvals": self.approvals,
            "epoch": 1,
            "tls": TlsMaterial(key_pem=SecretStr("not read here"), certificate=self.keys[name].certificate),
            "inbox_fd": self.doors[name].inbox(self.contract.digest).detach(),
        }
        return Job(**told | changed)

    def dealer(self, within_s: float = DEADLINE_S, **changed) -> list[DealerLink]:
        deadline = time.monotonic() + within_s
        return connect_parties(self.job("dealer", **changed), self.contract, self.keys["dealer"], deadline)

    def party(self, name: str, *, key: TlsKey | None = None, within_s: float = DEADLINE_S, **changed) -> DealerLink:
        job = self.job(name, **changed)
        with socket.socket(fileno=job.inbox_fd):
            return connect_dealer(job, self.contract, key or self.keys[name], time.monotonic() + within_s)

    def peers(self, name: str, *, key: TlsKey | None = None, within_s: float = DEADLINE_S, **changed) -> TlsChannel:
        deadline = time.monotonic() + within_s
        return connect_peers(self.job(name, **changed), self.contract, key or self.keys[name], deadline)


@pytest.fixture
def town(consortium) -> Iterator[Town]:
    with contextlib.ExitStack() as stack:
        yield Town(consortium, {name: stack.enter_context(opened()) for name in NAMES})


def close(*found) -> None:
    for each in found:
        for end in each if isinstance(each, list) else [each]:
            end.close()


@pytest.fixture
def stranger() -> TlsKey:
    return TlsKey.generate("clinic-a", now=utc_now())


def test_everybody_meets(town):
    """Each party has its own link to the dealer, by rank, and a channel to its peers."""
    b, links, a = at_once(lambda: town.party("clinic-b"), town.dealer, lambda: town.party("clinic-a"))
    for rank, party in enumerate((a, b)):
        party.send(f"of {rank}".encode())
        assert links[rank].receive() == f"of {rank}".encode()
        links[rank].send(f"for {rank}".encode())
        assert party.receive() == f"for {rank}".encode()
    channels = at_once(lambda: town.peers("clinic-a"), lambda: town.peers("clinic-b"))
    words = [np.array([rank], dtype=np.int64) for rank in range(2)]
    got = at_once(
        *(lambda c=c: c.exchange("n", {1 - c.rank: words[c.rank]}, {1 - c.rank: ("i8", (1,))}) for c in channels)
    )
    assert [got[0][1].tolist(), got[1][0].tolist()] == [[1], [0]]
    close(links, a, b, *channels)


def test_who_comes_before_the_session_is_live_comes_again(town):
    """A party whose dealer has not started yet is not turned away for good."""
    started = threading.Event()
    at_the_door = town.job("clinic-a"), town.job("clinic-b")

    def call(job: Job) -> DealerLink:
        started.set()
        return connect_dealer(job, town.contract, town.keys[job.name], time.monotonic() + DEADLINE_S)

    def serve() -> list[DealerLink]:
        assert started.wait(DEADLINE_S)
        return town.dealer()

    links, *parties = at_once(serve, *(lambda job=job: call(job) for job in at_the_door))
    close(links, *parties)
    for job in at_the_door:
        socket.socket(fileno=job.inbox_fd).close()


def test_another_dealer_is_not_spoken_to(town):
    """A dealer that shows another key than it approved is refused by the parties, and does not get a link either."""
    town.keys = {**town.keys, "dealer": TlsKey.generate("dealer", now=utc_now())}
    served, *refused = at_once(
        lambda: town.dealer(within_s=3), lambda: town.party("clinic-a"), lambda: town.party("clinic-b")
    )
    assert isinstance(served, (PartnerError, PeerLost))
    for error in refused:
        assert isinstance(error, PartnerError)
        assert "TLS handshake with dealer failed" in str(error)


def test_a_stranger_is_sent_away_and_the_party_still_comes(town, stranger):
    """A call at the dealer in a party's name with another key ends at the handshake; the real party meets it."""
    gone = threading.Event()

    def impersonate() -> DealerLink:
        try:
            return town.party("clinic-a", key=stranger)
        finally:
            gone.set()

    def come_later(name: str) -> DealerLink:
        assert gone.wait(DEADLINE_S)
        return town.party(name)

    links, refused, *parties = at_once(
        town.dealer, impersonate, lambda: come_later("clinic-a"), lambda: come_later("clinic-b")
    )
    assert isinstance(refused, (PartnerError, PeerLost))  # whichever it sees first, the refusal or the hang-up
    parties[0].send(b"it is me")
    assert links[0].receive() == b"it is me"
    close(links, *parties)


def test_a_stranger_alone_ends_the_session_by_name(town, stranger):
    """If nobody else comes in the party's name, the dealer says whose key was not the approved one."""
    began = time.monotonic()
    served, _, party = at_once(
        town.dealer, lambda: town.party("clinic-a", key=stranger), lambda: town.party("clinic-b")
    )
    assert isinstance(served, PartnerError)
    assert "clinic-a" in str(served)
    assert time.monotonic() - began < DEADLINE_S  # not the deadline's, but a few seconds
    close(party)


def test_peers_are_checked_as_the_dealer_checks(town, stranger):
    """A worker whose peer calls with another key than approved names it; one that is called, too."""
    first, second = at_once(lambda: town.peers("clinic-a"), lambda: town.peers("clinic-b", key=stranger))
    assert isinstance(first, PartnerError)
    assert "clinic-b" in str(first)
    assert isinstance(second, (PartnerError, PeerLost))
    assert "clinic-a" in str(second)


def test_a_worker_that_dies_in_the_handshake_is_named(town):
    """Its peer went away, says who dials it: it is not taken for one with another key."""
    caller, called = socket.socketpair()

    def dies() -> None:
        context = worker_context(town.keys["clinic-a"], town.keys["clinic-b"].certificate, server=True)
        with context.wrap_socket(called, server_side=True) as tls:
            socket.socket.shutdown(tls, socket.SHUT_RDWR)

    error, _ = at_once(lambda: secure(caller, town.keys["clinic-b"], town.approvals["clinic-a"], server=False), dies)
    assert isinstance(error, PeerLost)
    assert error.who == "clinic-a"


def test_the_first_of_several_who_do_not_come_is_blamed(town):
    """A sentence about all of them, and one to ask."""
    (error,) = at_once(lambda: town.dealer(within_s=0.2))
    assert isinstance(error, PeerLost)
    assert error.who == "clinic-a"
    assert error.what == "clinic-a, clinic-b did not connect in time"


UNWANTED = {
    "nobody of this session": {"name": "clinic-c"},
    "the dealer itself": {"name": "dealer"},
    "another epoch": {"epoch": 2},
}


@pytest.mark.parametrize("changed", UNWANTED.values(), ids=UNWANTED)
def test_callers_that_nobody_misses_are_sent_away(town, changed):
    """Whoever calls under a name or an epoch that is not awaited gets no answer, and the parties still come."""
    who = {"name": "clinic-a", "epoch": 1} | changed
    greeting = Greeting(town.contract.digest, who["epoch"], who["name"])
    links, unwanted, a, b = at_once(
        town.dealer,
        lambda: dial(town.doors["dealer"].endpoint, greeting, "dealer", time.monotonic() + 1),
        lambda: town.party("clinic-a"),
        lambda: town.party("clinic-b"),
    )
    assert isinstance(unwanted, PeerLost)
    close(links, a, b)


def test_a_second_call_of_a_party_is_not_answered(town):
    """Who was let in is missed no more."""
    endpoint, key = town.doors["dealer"].endpoint, town.keys["clinic-a"]
    greeting = Greeting(town.contract.digest, 1, "clinic-a")
    let_in, over = threading.Event(), threading.Event()

    def twice() -> tuple[object, object]:
        deadline = time.monotonic() + DEADLINE_S
        first = secure(dial(endpoint, greeting, "dealer", deadline), key, town.approvals["dealer"], server=False)
        let_in.set()
        with first, pytest.raises(PeerLost):
            dial(endpoint, greeting, "dealer", time.monotonic() + 1)
        over.set()

    def last() -> DealerLink:
        assert over.wait(DEADLINE_S)
        return town.party("clinic-b")

    links, called, party = at_once(town.dealer, twice, last)
    assert let_in.is_set()
    assert called is None
    close(links, party)


def test_nobody_at_the_address_is_said_so(town, consortium):
    """A dealer that is down is named with its address when the deadline comes."""
    town.approvals["dealer"] = consortium.approval("dealer", endpoint="127.0.0.1:1")
    with pytest.raises(PeerLost, match=r"dealer did not answer at 127\.0\.0\.1:1 in time") as caught:
        town.party("clinic-a", within_s=0.5)
    assert caught.value.who == "dealer"


def test_who_does_not_come_is_named(town):
    """At the deadline the dealer names the party that is missing, and not the one that came."""
    served, party = at_once(lambda: town.dealer(within_s=2), lambda: town.party("clinic-b"))
    assert isinstance(served, PeerLost)
    assert served.who == "clinic-a"
    assert "did not connect in time" in str(served)
    close(party)


def test_a_session_that_is_ended_meanwhile_waits_for_nobody(town):
    """When the daemon shuts its door for the session, whoever waits behind it goes."""
    waiting = threading.Event()

    def serve() -> list[DealerLink]:
        job = town.job("dealer")
        waiting.set()
        return connect_parties(job, town.contract, town.keys["dealer"], time.monotonic() + DEADLINE_S)

    def end() -> None:
        assert waiting.wait(DEADLINE_S)
        town.doors["dealer"].shut(town.contract.digest)

    served, _ = at_once(serve, end)
    assert isinstance(served, PeerLost)
    assert "before the daemon closed the session" in str(served)

"""A contract that is not what it should be is refused by a node with a sentence that names the first bad thing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import rfc8785

from parties.audit import events
from parties.audit.snapshot import locate, take
from parties.identity import Identity
from parties.messages import Refuse, Start, decode_from_daemon
from tests.parties.page.conftest import Clinic

STRANGER = Identity.generate()


@pytest.fixture(scope="module")
def clinic(tmp_path_factory) -> Iterator[Clinic]:
    made = Clinic(tmp_path_factory.mktemp("clinic"))
    yield made
    made.stop()


def recorded(clinic, kind, digest):
    found = [entry.event for entry in take(locate(clinic.home.directory)).entries()]
    return [event for event in found if isinstance(event, kind) and event.session == digest]


def refusals(clinic):
    said = [decode_from_daemon(content) for content in clinic.node.stream._outbox]
    return [message for message in said if isinstance(message, Refuse)]


def over(contract):
    ended = datetime.now(UTC) - timedelta(minutes=1)
    contract["expires"] = ended.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def for_another(contract):
    contract["parties"][0]["name"] = contract["label"]["party"] = "clinic-c"


def one_byte(contract):
    version = contract["parties"][0]["data_version"]
    contract["parties"][0]["data_version"] = ("1" if version[0] != "1" else "2") + version[1:]


BAD = {
    "one byte of a data set's version": (one_byte, "contract", "'cohort' is not in the version that the contract"),
    "one byte of a program": (
        lambda c: c["program"].update(max_iter=c["program"]["max_iter"] + 1),
        "contract",
        "program is not the one that follows",
    ),
    "another key for this node": (
        lambda c: c["parties"][0].update(public_key=STRANGER.public.hex()),
        "contract",
        "names another key for clinic-a than its own",
    ),
    "another key for a partner": (
        lambda c: c["parties"][1].update(public_key=STRANGER.public.hex()),
        "partner",
        "clinic-b",
    ),
    "another dealer": (lambda c: c["dealer"].update(name="dealer-b"), "partner", "dealer-b"),
    "another key for the dealer": (lambda c: c["dealer"].update(public_key=STRANGER.public.hex()), "partner", "dealer"),
    "not for this node": (for_another, "contract", "'clinic-a' is not a party"),
    "its time is over": (over, "contract", "the contract has expired"),
    "an unknown field": (lambda c: c.update(addendum=1), "contract", "addendum: there is no such key"),
    "a newer version": (lambda c: c.update(version=2), "contract", "of version 2; this release knows version 1"),
}


@pytest.mark.parametrize(("edit", "code", "says"), BAD.values(), ids=BAD)
def test_each_bad_contract_has_its_own_refusal(clinic, edit, code, says):
    """The gateway that sent it hears one sentence, the log has the code, and nothing waits for the operator."""
    content = json.loads(clinic.contract().canonical())
    content["created"] = "2026-01-01T12:00:00Z"
    edit(content)
    before, altered = len(refusals(clinic)), rfc8785.dumps(content)
    clinic.do(clinic.node.receive(altered))
    refusal = refusals(clinic)[before]
    assert says in refusal.fault.what
    assert refusal.fault.code == code
    assert "\n" not in refusal.fault.line()
    (recorded_as,) = recorded(clinic, events.ContractRefused, refusal.session)
    assert recorded_as.reason == code
    known = clinic.node.store.find(refusal.session)
    assert known is None or known.state == "refused"


def test_a_contract_that_comes_again_is_no_other_session(clinic):
    """A digest is accepted once: replayed while it waits, once it is over, and with all approvals to start it."""
    session = clinic.proposed()
    content = clinic.node.store.get(session).contract.encode()
    clinic.do(clinic.node.receive(content))
    assert clinic.state(session) == "proposed"
    clinic.completed(session)
    clinic.do(clinic.node.receive(content))
    clinic.do(clinic.node.start(Start(session=session, approvals={})))
    assert clinic.state(session) == "completed"
    assert len(recorded(clinic, events.ContractReceived, session)) == 1
    assert recorded(clinic, events.SessionStarted, session) == []

"""What goes over the control stream is a closed set of small messages, and nothing else is taken for one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.curves import Points
from mpc.errors import PeerLost
from parties.data.schema import Column, Schema
from parties.errors import DataError, GatewayError
from parties.keys.handover import SignedHandover
from parties.service.messages import (
    MAX_MESSAGE_BYTES,
    MAX_SENTENCE,
    Approve,
    Cosigned,
    Declined,
    Fault,
    Figures,
    Finished,
    HandedOver,
    Head,
    Hello,
    Lost,
    Offer,
    Progress,
    Proposal,
    Publish,
    PublishedData,
    Refuse,
    Rejected,
    SignedTranscript,
    Start,
    Stop,
    ToldModel,
    Validated,
    Waiting,
    Welcome,
    decode_from_daemon,
    decode_from_gateway,
    encode,
)

SESSION = "ab" * 32
FAULT = Fault(code="data", who="clinic-a", what="a column is missing", action="add it")
TABLE = Schema(name="cohort", rows=3, id_column="id", columns=(Column(name="x", kind="number", complete=True),))

POINTS = Points(thresholds=(0.0,), positives=((0, 9), (10, 15)), negatives=((0, 9), (10, 15)))
TOLD = ToldModel(C="1.0", positive="yes", figures=Figures(auc=0.5, brier=-1e-5, roc=POINTS))
VALIDATED = Validated(C="1.0", loss=0.25)

BETWEEN_PARTNERS = [
    Offer(peer="clinic-b", public_key=SESSION, envelope={"payload": "e30="}),
    Cosigned(peer="clinic-b", public_key=SESSION, note="privity\n3\nabc=\n\n— a b=\n"),
    Declined(peer="clinic-b", public_key=SESSION, envelope={"payload": "e30="}),
    SignedTranscript(peer="clinic-b", public_key=SESSION, session=SESSION, envelope={"payload": "e30="}, ask=True),
    HandedOver(peer="clinic-b", public_key=SESSION, handovers=(SignedHandover(by_old={}, by_new={}),)),
]
FROM_DAEMON = [
    Hello(introduction={"payload": "e30="}),
    Publish(data=(PublishedData(table=TABLE, version="ab" * 16),)),
    Approve(session=SESSION, envelope={}),
    Refuse(session=SESSION, fault=FAULT),
    Waiting(session=SESSION, reason="waits"),
    Progress(session=SESSION, iteration=3, of=9, rounds=27, bytes_sent=1 << 40, loss=0.5),
    Lost(session=SESSION, fault=FAULT),
    Finished(session=SESSION, seconds=1.5, rounds=3, bytes_sent=4),
    Finished(session=SESSION, seconds=1.5, rounds=3, bytes_sent=4, fault=FAULT),
    Finished(session=SESSION, seconds=1.5, rounds=3, bytes_sent=4, models=(TOLD,), validated=(VALIDATED,)),
    Head(note="privity\n3\nabc=\n\n— a b=\n"),
]
FROM_GATEWAY = [
    Welcome(gateway="gateway"),
    Proposal(contract="{}"),
    Start(session=SESSION, approvals={"clinic-a": {}}),
    Stop(session=SESSION, fault=FAULT),
    Rejected(fault=FAULT),
]


@pytest.mark.parametrize("message", FROM_DAEMON, ids=lambda message: message.type)
def test_a_daemon_s_message_survives(message):
    """What a daemon encodes the gateway decodes; a daemon takes none of it from the gateway."""
    assert decode_from_daemon(encode(message)) == message
    with pytest.raises(GatewayError, match="the gateway sent something that is no message"):
        decode_from_gateway(encode(message))


@pytest.mark.parametrize("message", BETWEEN_PARTNERS, ids=lambda message: message.type)
def test_what_partners_say_survives_both_ways(message):
    """The gateway takes it from one daemon and gives it to another in the same words."""
    assert decode_from_daemon(encode(message)) == decode_from_gateway(encode(message)) == message


@pytest.mark.parametrize("message", FROM_GATEWAY, ids=lambda message: message.type)
def test_the_gateway_s_message_survives(message):
    """What the gateway encodes a daemon decodes; the gateway takes none of it from a daemon."""
    assert decode_from_gateway(encode(message)) == message
    with pytest.raises(GatewayError, match="a daemon sent something that is no message"):
        decode_from_daemon(encode(message))


BAD = {
    "nothing": b"",
    "not JSON": b"{",
    "no object": b"[]",
    "no type": b"{}",
    "another type": b'{"type": "share"}',
    "an unknown key": b'{"type": "head", "note": "x", "extra": 1}',
    "a session that is none": b'{"type": "waiting", "session": "abc", "reason": "x"}',
    "a sentence without end": b'{"type": "waiting", "session": "%s", "reason": "%s"}' % (b"a" * 64, b"x" * 2001),
    "a note without end": b'{"type": "head", "note": "%s"}' % (b"x" * 2001),
    "a count below zero": encode(FROM_DAEMON[5]).replace(b'"rounds":27', b'"rounds":-1'),
    "a count beyond JSON's": encode(FROM_DAEMON[5]).replace(b'"rounds":27', b'"rounds":9007199254740992'),
    "a loss that is no number": encode(FROM_DAEMON[5]).replace(b'"loss":0.5', b'"loss":NaN'),
    "a time that is no number": encode(FROM_DAEMON[7]).replace(b'"seconds":1.5', b'"seconds":Infinity'),
    "an AUC above one": encode(FROM_DAEMON[9]).replace(b'"auc":0.5', b'"auc":1.5'),
    "a figure that is no number": encode(FROM_DAEMON[9]).replace(b'"brier":-0.00001', b'"brier":NaN'),
    "a table whose counts fall": encode(FROM_DAEMON[9]).replace(b"[10,15]", b"[0,8]"),
    "a table of another size": encode(FROM_DAEMON[9]).replace(b"[0.0]", b"[1.0,0.0]"),
    "a version that is no digest": encode(FROM_DAEMON[1]).replace(b"ab" * 16, b"../../etc/passwd"),
    "a column that moves the cursor": encode(FROM_DAEMON[1]).replace(b'"name":"x"', b'"name":"\\u001b[2K"'),
    "a name that is none": encode(FROM_DAEMON[3]).replace(b"clinic-a", b"Clinic A"),
    "nested without end": b'{"type": "hello", "introduction": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_what_is_no_message_is_refused(content):
    """Nonsense is one error of one line that repeats nothing of it."""
    with pytest.raises(GatewayError, match="a daemon sent something that is no message") as caught:
        decode_from_daemon(content)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_messages_have_a_limit():
    """Neither side sends or takes more: the stream would break at it."""
    for decode in (decode_from_daemon, decode_from_gateway):
        with pytest.raises(GatewayError, match=f"{MAX_MESSAGE_BYTES} is the limit"):
            decode(b" " * (MAX_MESSAGE_BYTES + 1))
    with pytest.raises(GatewayError, match=r"a 'proposal' message of .* bytes is beyond the limit"):
        encode(Proposal(contract="x" * MAX_MESSAGE_BYTES))


@given(st.text(max_size=40))
def test_what_others_say_stays_on_its_line(text):
    """A fault from another organisation can't move this operator's cursor, whatever letters it has."""
    fault = Fault.model_validate_json(json.dumps({"code": "data", "who": "clinic-b", "what": text, "action": text}))
    assert fault.line().isprintable()
    if text.isprintable():
        assert fault.what == text


def test_a_fault_says_outward_what_others_may_read():
    """Where an error has a sentence for others, that one leaves and the operator's own does not."""
    error = DataError("row 17: haemoglobin 13.2 is no number", action="mend row 17", outward="the data set is damaged")
    fault = Fault.of(error, "clinic-a")
    assert (fault.code, fault.who, fault.what) == ("data", "clinic-a", "the data set is damaged")
    assert "13.2" not in fault.line()
    lost = Fault.of(PeerLost("clinic-b", "closed its connection"), "clinic-a")
    assert lost.line() == (
        "clinic-a: clinic-b closed its connection (engine.peer-lost); ask its operator, then propose the session again"
    )


def test_a_long_error_is_cut_not_refused():
    """An error of any length becomes a fault: a session's end is never kept back by it."""
    fault = Fault.of(DataError("x" * 5000, action="y" * 5000), "clinic-a")
    assert (len(fault.what), len(fault.action)) == (MAX_SENTENCE, MAX_SENTENCE)

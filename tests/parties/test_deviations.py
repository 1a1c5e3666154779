"""What a log has of a peer that does not keep to the program: who, and what it asked for, in no words of its own."""

import pytest

from mpc.errors import FrameRefused as Refused
from mpc.errors import PeerLost, ProtocolError, TranscriptsDiffer
from mpc.frames import Header
from parties.audit.events import MAX_COUNT, FrameRefused, TranscriptCompared
from parties.process.voice import broken
from parties.service.deviations import evidence

HEADER = Header(bytes(32), 1, 0, "held-out scores", "i8", (4,))


def refused(**changed) -> Refused:
    """The error of a frame that is another than the program's."""
    with pytest.raises(Refused) as met:
        HEADER._replace(**changed).check(HEADER)
    return met.value.sent_by("clinic-b")


def found(contract, error, own="clinic-a"):
    return list(evidence(contract, own, broken(error)))


@pytest.mark.parametrize(
    ("changed", "name", "shape"),
    [
        ({"name": "gradient", "shape": (3, 1)}, "gradient", (3, 1)),
        ({"name": "labels of clinic-a"}, "labels-of-clinic-a", (4,)),
        ({"name": "Mrs Smith, 1931"}, None, (4,)),
        ({"name": "\x1b[2J"}, None, (4,)),
        ({"name": ""}, None, (4,)),
        ({"sequence": 7}, "held-out-scores", (4,)),
        ({"shape": (0, MAX_COUNT + 1)}, "held-out-scores", ()),
        ({"shape": (0, (1 << 64) - 1)}, "held-out-scores", ()),
    ],
)
def test_a_refused_frame_is_recorded_with_its_sender(contract, changed, name, shape):
    """Who sent it, what it was called if that is a name, and what was to come."""
    (event,) = found(contract, refused(**changed))
    assert event == FrameRefused(
        session=contract.digest, who="clinic-b", name=name, shape=shape, expected="held-out-scores"
    )


def test_transcripts_that_differ_are_recorded(contract):
    """Each party whose chain is another; places that the contract does not have, and the own one, are passed over."""
    assert found(contract, TranscriptsDiffer((0, 1, 7), b"\xab" * 32)) == [
        TranscriptCompared(session=contract.digest, partner="clinic-b", digest="ab" * 32, equal=False)
    ]


@pytest.mark.parametrize("error", [PeerLost("clinic-b", "went away"), ProtocolError("no"), ValueError("row 17")])
def test_other_errors_accuse_nobody(contract, error):
    """Who only went away has sent nothing that was refused."""
    assert found(contract, error) == []


def test_a_stranger_is_not_accused(contract):
    """A name that the contract does not have, which only a modified worker would say."""
    assert found(contract, refused(name="x").sent_by("clinic-z")) == []

"""The engine's errors, and the root of all of Privity's.

PrivityError                 what happened; `action` says what to do about it
└── EngineError
    ├── ProgramError         the program asks for what the ring or the protocol can't hold
    ├── ProtocolError        a peer or the dealer sent something other than what was agreed
    │   ├── FrameRefused     a peer sent a frame, or asked for one, that the program does not have there
    │   ├── TranscriptsDiffer  a peer opened other words than this party
    │   └── CommitmentsDiffer  a peer signed that it sent other words than came here
    ├── PeerLost             a peer or the dealer went away, or kept silent past its deadline
    ├── DisclosureRefused    something asked to open a value that the contract does not name
    ├── MaskReuse            an epoch, a stream position or a tuple was asked for twice
    ├── ReplayDiffers        a run made again sends something else than the run that was recorded
    ├── ReplayEnded          the recording of a run ends before the run does
    ├── RangeExceeded        values left the range that the program was made for
    └── UnsupportedVersion   a library hook that the engine needs is missing
"""

from __future__ import annotations

from collections.abc import Sequence


class PrivityError(Exception):
    """An error with a code for programs, a sentence for people and the next step.

    `outward` is the sentence that other organisations may read: by default the same sentence; an error about
    somebody's data passes one without line numbers or counts.
    """

    code: str = "privity"

    def __init__(self, what: str, *, action: str = "", outward: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.action = action
        self.outward = what if outward is None else outward

    def __str__(self) -> str:
        return f"{self.what}; {self.action}" if self.action else self.what


class EngineError(PrivityError):
    code = "engine"


class ProgramError(EngineError):
    code = "engine.program"


class ProtocolError(EngineError):
    code = "engine.protocol"


class FrameRefused(ProtocolError):
    """`name` and `shape` are the peer's own words; `who` is the peer, once the channel says so."""

    def __init__(
        self, what: str, *, name: str, expected: str, shape: tuple[int, ...], who: str = "", action: str = ""
    ) -> None:
        super().__init__(what, action=action)
        self.name, self.expected, self.shape, self.who = name, expected, shape, who

    def sent_by(self, who: str) -> FrameRefused:
        """The same, with the peer's name."""
        facts = {"name": self.name, "expected": self.expected}
        return FrameRefused(f"from {who}: {self.what}", shape=self.shape, who=who, action=self.action, **facts)


class TranscriptsDiffer(ProtocolError):
    """`parties` are the ranks of those whose chain is another than `digest`, the own one."""

    def __init__(self, parties: tuple[int, ...], digest: bytes) -> None:
        super().__init__(
            f"the opened words differ from those of party {', '.join(map(str, parties))}",
            action="a party told its peers different things, or a machine is faulty; end the session",
        )
        self.parties, self.digest = parties, digest


class CommitmentsDiffer(ProtocolError):
    """`parties` are the ranks of those whose signed chain is not of what came from them."""

    code = "engine.commitment"

    def __init__(self, parties: tuple[int, ...], who: str = "") -> None:
        """`who`: the first one's name, where it is known."""
        super().__init__(
            f"{who or f'party {parties[0]}'} signed that it sent something else than what came",
            action="its software is not the released one, or a machine is faulty; end the session and keep the logs",
        )
        self.parties, self.who = parties, who


class PeerLost(EngineError):
    code = "engine.peer-lost"

    def __init__(
        self,
        who: str,
        what: str,
        *,
        others: Sequence[str] = (),
        action: str = "ask its operator, then propose the session again",
    ) -> None:
        """`others`: who went the same way; the first is the one to ask about."""
        super().__init__(f"{', '.join((who, *others))} {what}", action=action)
        self.who = who


class DisclosureRefused(EngineError):
    code = "engine.disclosure-refused"


class MaskReuse(EngineError):
    code = "engine.mask-reuse"


class ReplayDiffers(EngineError):
    """`peer` is the receiver's rank, or 255 for the dealer."""

    code = "engine.replay"

    def __init__(self, round_number: int, name: str, peer: int) -> None:
        super().__init__(
            f"round {round_number}, '{name}': what would be sent is not what was sent",
            action="the run was not made by this code from these rows: keep the recording, and ask who ran it",
        )
        self.round_number, self.name, self.peer = round_number, name, peer


class ReplayEnded(EngineError):
    code = "engine.replay"

    def __init__(self, round_number: int) -> None:
        super().__init__(
            f"the recording ends in round {round_number}, before the run does", action="restore it from a backup"
        )
        self.round_number = round_number


class RangeExceeded(EngineError):
    code = "engine.range"


class UnsupportedVersion(EngineError):
    code = "engine.version"

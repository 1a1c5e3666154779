"""What daemons and the gateway say to each other on the control stream: pydantic models as JSON, one a message.

Nothing here can hold a share, a mask or a feature. The gateway trusts no name in a message: who speaks follows from the
TLS key of the stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, ValidationError

from mpc.curves import Curve, Points
from mpc.errors import PrivityError
from mpc.evaluation_program import Figure, Told
from mpc.stages import Stage
from parties.agreement.contract import DataVersion, Hex32
from parties.agreement.plan import Frozen, Name, explain
from parties.data.schema import ColumnName, Schema
from parties.errors import GatewayError
from parties.keys.handover import SignedHandover

M = TypeVar("M")
MAX_MESSAGE_BYTES = 8 << 20
SERVICE = "privity.Control"
STREAM = "Stream"  # the one method: a stream of JSON messages each way

MAX_SENTENCE = 2000


def _one_line(text: str) -> str:
    """What another organisation says can't write on this one's terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


Sentence = Annotated[str, StringConstraints(max_length=MAX_SENTENCE), AfterValidator(_one_line)]
Note = Annotated[str, StringConstraints(max_length=MAX_SENTENCE)]  # lines; parties.audit.notes reads them
Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,59}$")]
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]  # as far as JSON's numbers are whole
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Stages = dict[Stage, Seconds]  # how long each took, in order
Release = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.+!-]{0,40}$")]
Envelope = dict[str, Any]  # DSSE; checked by parties.keys.identity.unseal
Hash = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{43}=$")]  # 32 bytes in base64
MAX_PROOF_HASHES = 128  # more than a tree of 2**63 leaves needs


class Fault(Frozen):
    """An error as other organisations may read it."""

    code: Code
    who: Name | Literal["gateway"]
    what: Sentence
    action: Sentence = ""

    @classmethod
    def of(cls, error: PrivityError, who: str) -> Fault:
        return cls(code=error.code, who=who, what=error.outward[:MAX_SENTENCE], action=error.action[:MAX_SENTENCE])

    def line(self) -> str:
        text = f"{self.who}: {self.what} ({self.code})"
        return f"{text}; {self.action}" if self.action else text


class PublishedData(Frozen):
    """What a node tells of a data set: schema and version, no values."""

    table: Schema
    version: DataVersion


class Hello(Frozen):
    """First message of a daemon. `introduction` is its identity's envelope over an Introduction."""

    type: Literal["hello"] = "hello"
    introduction: Envelope
    handovers: tuple[SignedHandover, ...] = ()  # of its keys, where it had others before
    version: Release = ""  # Privity's; for display


class Introduction(Frozen):
    """Binds a daemon's identity to its TLS certificate; signed by the identity key."""

    name: Name
    role: Literal["party", "dealer"]
    public_key: Hex32
    certificate_sha256: Hex32


INTRODUCTION_TYPE = "application/vnd.privity.introduction.v1+json"


class Publish(Frozen):
    """All shareable data sets of a node; replaces what it published before."""

    type: Literal["publish"] = "publish"
    data: tuple[PublishedData, ...]


class Approve(Frozen):
    type: Literal["approve"] = "approve"
    session: Hex32
    envelope: Envelope


class Refuse(Frozen):
    type: Literal["refuse"] = "refuse"
    session: Hex32
    fault: Fault


class Withdraw(Frozen):
    """The sender ended its consent to a session: its signed word, said at each connection."""

    type: Literal["withdraw"] = "withdraw"
    session: Hex32
    envelope: Envelope


class Waiting(Frozen):
    """The node's operator must decide; for display."""

    type: Literal["waiting"] = "waiting"
    session: Hex32
    reason: Sentence


class Figures(Frozen):
    """How good the model is on held-out rows, where the contract discloses it to the session."""

    auc: Annotated[float, Field(ge=0, le=1)] | None = None  # None too if the held-out rows are of one class
    log_loss: Annotated[float, Field(allow_inf_nan=False)] | None = None  # mean; rounding can put it just below 0
    brier: Annotated[float, Field(allow_inf_nan=False)] | None = None  # mean
    roc: Points | None = None
    calibration: Points | None = None

    @classmethod
    def of(cls, figures: Mapping[Told, float | Points | None]) -> Figures | None:
        """None if there are none."""
        named = {name.replace("-", "_"): value for name, value in figures.items()}
        return cls.model_validate(named) if figures else None

    def by_name(self) -> dict[Figure, float | None]:
        """All that are one number, by the names that contracts call them; None for what was not disclosed."""
        return {"auc": self.auc, "log-loss": self.log_loss, "brier": self.brier}

    def told(self) -> dict[Figure, float]:
        """Those that there are."""
        return {name: value for name, value in self.by_name().items() if value is not None}

    def tables(self) -> dict[Curve, Points]:
        """The tables that there are."""
        tables: dict[Curve, Points | None] = {"roc": self.roc, "calibration": self.calibration}
        return {name: value for name, value in tables.items() if value is not None}

    def only(self, names: Collection[Told]) -> Figures | None:
        """What is left of it if these may be shown."""
        kept = {name.replace("-", "_") for name in names}
        return Figures.model_validate(self.model_dump(include=kept)) if kept else None


class ToldModel(Frozen):
    """A model of which the session is told, and what it is told of it."""

    C: Sentence
    positive: Sentence  # the class that it tells from all others
    figures: Figures | None = None


class Validated(Frozen):
    """The cross-validated loss of a C, the mean over left-out training rows."""

    C: Sentence
    loss: Annotated[float, Field(allow_inf_nan=False)]


class InformationValue(Frozen):
    """How much a column says of the label, as the first party that has the column computes it."""

    party: Name
    column: ColumnName
    value: Annotated[float, Field(allow_inf_nan=False)]


class Progress(Frozen):
    """How far a worker is; the loss only where the contract discloses it, of several models the mean."""

    type: Literal["progress"] = "progress"
    session: Hex32
    stage: Stage | None = None  # None: it did not say
    iteration: Count  # of none, 0 of 0, before the engine counts them
    of: Count
    rounds: Count
    bytes_sent: Count
    loss: Annotated[float, Field(allow_inf_nan=False)] | None = None


class Lost(Frozen):
    """A participant vanished from this one's sight: the gateway, which hears all, says within moments who was first."""

    type: Literal["lost"] = "lost"
    session: Hex32
    fault: Fault


class MeasuredLink(Frozen):
    """What a participant's kernel measured of its connection to another."""

    name: Name
    round_trip_us: Count  # the least
    bytes_a_second: Annotated[Count | None, Field(gt=0)] = None  # where it never waited for data


class Finished(Frozen):
    """One participant's end of a session, with its own counts; `fault` if it failed."""

    type: Literal["finished"] = "finished"
    session: Hex32
    seconds: Seconds
    rounds: Count
    bytes_sent: Count
    converged: bool | None = None  # where the contract discloses it to the session
    estimate: Count | None = None  # of common records, likewise; 0: fewer than are told
    models: tuple[ToldModel, ...] = ()
    validated: tuple[Validated, ...] = ()  # every C, in the contract's order
    information_values: tuple[InformationValue, ...] = ()  # where the contract discloses them to the session
    stages: Stages = Field(default_factory=dict)
    links: tuple[MeasuredLink, ...] = ()
    fault: Fault | None = None


class Head(Frozen):
    """A signed head of the sender's audit log."""

    type: Literal["head"] = "head"
    note: Note


class Relayed(Frozen):
    """What one participant says to another through the gateway, which may drop it and can't make it.

    `peer` is whom it is for on the way up, and from whom it came on the way down; what counts is what the sender's
    identity signed. `public_key` is that identity's, to be compared with the fingerprint that was confirmed.
    """

    peer: Name
    public_key: Hex32

    @property
    def slot(self) -> tuple[str, ...]:
        """Of messages with one slot, from and to the same, the newest replaces those that wait."""
        return (type(self).__name__,)


class Offer(Relayed):
    """A head to cosign: an envelope over a HeadOffer."""

    type: Literal["offer"] = "offer"
    envelope: Envelope


class Cosigned(Relayed):
    """A head that was offered, with the sender's cosignature."""

    type: Literal["cosigned"] = "cosigned"
    note: Note


class Declined(Relayed):
    """A head that was offered is not cosigned: an envelope over a HeadRefusal."""

    type: Literal["declined"] = "declined"
    envelope: Envelope


class HandedOver(Relayed):
    """The hand-overs of the sender's key, the newest of which leads to `public_key`."""

    type: Literal["handed-over"] = "handed-over"
    handovers: tuple[SignedHandover, ...]


class SignedTranscript(Relayed):
    """The sender's signature on its transcript of a session that ended; with `ask`, the receiver's is missing."""

    type: Literal["transcript"] = "transcript"
    session: Hex32
    envelope: Envelope
    ask: bool = False

    @property
    def slot(self) -> tuple[str, ...]:
        return (*super().slot, self.session)


FromPartner = Offer | Cosigned | Declined | HandedOver | SignedTranscript


class HeadOffer(Frozen):
    """A head of `log`, for `to` to cosign; signed by the log's identity."""

    log: Name
    to: Name
    at: Count  # microseconds since 1970, later with each offer: an old one that comes again is told by it
    note: Note
    old: Count  # entries of the head that `to` cosigned last, as far as the log's owner knows; 0: none
    proof: Annotated[tuple[Hash, ...], Field(max_length=MAX_PROOF_HASHES)]  # that the head continues that one


class HeadRefusal(Frozen):
    """Why a head is not cosigned, with the head that speaks against it; signed by whom it was offered to."""

    log: Name
    by: Name
    at: Count  # the offer's
    reason: Literal["behind", "rollback", "fork"]  # behind: the proof begins at another head than `known`
    known: Note  # the last head of `log` that `by` cosigned


HEAD_OFFER_TYPE = "application/vnd.privity.head-offer.v1+json"
HEAD_REFUSAL_TYPE = "application/vnd.privity.head-refusal.v1+json"


class Welcome(Frozen):
    type: Literal["welcome"] = "welcome"
    gateway: Name


class Proposal(Frozen):
    """A contract to approve or refuse: its canonical JSON."""

    type: Literal["proposal"] = "proposal"
    contract: str


class Start(Frozen):
    """All approvals of a session, by participant; each daemon verifies every one before it starts a worker."""

    type: Literal["start"] = "start"
    session: Hex32
    approvals: dict[Name, Envelope]


class Stop(Frozen):
    """A participant refused, failed or vanished, or the analyst cancelled: end the session's worker."""

    type: Literal["stop"] = "stop"
    session: Hex32
    fault: Fault


class Withdrawn(Frozen):
    """Another party ended its consent to a session: its signed word, as it came."""

    type: Literal["withdrawn"] = "withdrawn"
    session: Hex32
    name: Name
    envelope: Envelope


class Rejected(Frozen):
    """The gateway does not accept this daemon; the stream ends."""

    type: Literal["rejected"] = "rejected"
    fault: Fault


FromDaemon = Annotated[
    Hello | Publish | Approve | Refuse | Withdraw | Waiting | Progress | Lost | Finished | Head | FromPartner,
    Field(discriminator="type"),
]
FromGateway = Annotated[
    Welcome | Proposal | Start | Stop | Withdrawn | Rejected | FromPartner, Field(discriminator="type")
]

_FROM_DAEMON: TypeAdapter[FromDaemon] = TypeAdapter(FromDaemon)
_FROM_GATEWAY: TypeAdapter[FromGateway] = TypeAdapter(FromGateway)


def session_of(message: FromDaemon | FromGateway) -> str:
    """The id of the session that a message is about; empty if it is about none."""
    if isinstance(message, Proposal):
        return hashlib.sha256(message.contract.encode()).hexdigest()
    return str(getattr(message, "session", ""))


def encode(message: FromDaemon | FromGateway) -> bytes:
    """Raises: GatewayError if the message is longer than the other side takes."""
    content = message.model_dump_json().encode()
    if len(content) > MAX_MESSAGE_BYTES:
        raise GatewayError(
            f"a '{message.type}' message of {len(content)} bytes is beyond the limit of {MAX_MESSAGE_BYTES}",
            action="publish fewer data sets, or such of fewer columns",
        )
    return content


def decode_from_daemon(content: bytes) -> FromDaemon:
    """Raises: GatewayError if it is no message."""
    return _decode(_FROM_DAEMON, content, "a daemon")


def decode_from_gateway(content: bytes) -> FromGateway:
    """Raises: GatewayError if it is no message."""
    return _decode(_FROM_GATEWAY, content, "the gateway")


def _decode(kind: TypeAdapter[M], content: bytes, who: str) -> M:
    if len(content) > MAX_MESSAGE_BYTES:
        raise GatewayError(f"{who} sent {len(content)} bytes; {MAX_MESSAGE_BYTES} is the limit")
    try:
        return kind.validate_json(content)
    except ValidationError as exc:
        raise GatewayError(f"{who} sent something that is no message: {explain(exc)}") from exc

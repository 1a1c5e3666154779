"""The closed vocabulary of the audit log: what may be written down, and in which words.

Each event has a type `source:subject:action` and a frozen schema. A field is an identifier, a digest, a code, a count
or a truth value; none can hold a value of anybody's data or a sentence.

The vocabulary only grows. A released event may gain fields that default to None, which are left out when None, so
that an old entry still encodes to its own bytes; any other change is a new event.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_DIMENSIONS: Final = 8
MAX_COUNT: Final = 2**53 - 1  # beyond it JSON's numbers are read differently elsewhere

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,63}$"
DISCLOSURE_PATTERN: Final = r"^[a-z0-9][a-z0-9._:-]{0,79}$"

Count = Annotated[int, Field(ge=0, le=MAX_COUNT, strict=True, description="a count")]
Flag = Annotated[bool, Field(strict=True, description="true or false")]


class _Participant:
    """Marks the fields that hold a participant's name."""


Name = Annotated[str, Field(pattern=NAME_PATTERN, description="a participant's name"), _Participant()]
DataSet = Annotated[str, Field(pattern=NAME_PATTERN, description="a data set's name")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="a SHA-256 or HMAC-SHA-256 in hexadecimal")]
Session = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="the contract's digest, the session's id")]
Model = Annotated[
    str, Field(pattern=r"^[0-9a-f]{64}$", description="the id of the training session that left the model")
]
DataVersion = Annotated[
    str, Field(pattern=r"^[0-9a-f]{32,64}$", description="the keyed digest that names this content")
]
Fingerprint = Annotated[
    str, Field(pattern=r"^([0-9a-f]{4}-){9}[0-9a-f]{4}$", description="an identity key's fingerprint")
]
PublicKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="an Ed25519 public key in hexadecimal")]
Code = Annotated[str, Field(pattern=r"^[a-z0-9.-]{1,60}$", description="a reason code")]
Release = Annotated[str, Field(pattern=r"^[0-9][0-9a-z.+-]{0,31}$", description="a version number")]
Sqlite = Annotated[
    str, Field(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){2,3}$", description="version of the SQLite that lays out the file")
]
Clause = Annotated[str, Field(pattern=r"^[a-z]+\.[0-9]{1,9}$", description="the contract's clause")]
Disclosed = Annotated[str, Field(pattern=DISCLOSURE_PATTERN, description="a disclosure's name in the contract")]
Recipient = Annotated[
    str,
    Field(
        pattern=r"^(session|party:[a-z0-9][a-z0-9_-]{0,63}|parties:[a-z0-9][a-z0-9_-]{0,63}(,[a-z0-9][a-z0-9_-]{0,63}){1,15})$",
        description="`session`, `party:NAME` or `parties:NAME,NAME`",
    ),
]
Role = Annotated[Literal["node", "dealer", "gateway"], Field(description="`node`, `dealer` or `gateway`")]
Decider = Annotated[Literal["operator", "policy"], Field(description="`operator` or `policy`")]
Reader = Annotated[Literal["operator", "officer"], Field(description="`operator` or `officer`, who can change nothing")]
Analyst = Annotated[Literal["analyst"], Field(description="`analyst`, who may propose and cancel")]
Exit = Annotated[int, Field(ge=-255, le=255, strict=True, description="exit status; a signal's number below zero")]


class Event(BaseModel):
    """What callers append; `subject_field` names the field that says what the event is about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: ClassVar[str]
    subject_field: ClassVar[str] = "session"

    @property
    def subject(self) -> str:
        return str(getattr(self, self.subject_field))


class LogCreated(Event):
    """The log begins; always its first entry."""

    type = "log:file:created"
    subject_field = "fingerprint"
    fingerprint: Fingerprint
    sqlite: Sqlite


class LibraryChanged(Event):
    """The log was opened with another version of SQLite, which lays out the file from here on."""

    type = "log:library:changed"
    subject_field = "sqlite"
    sqlite: Sqlite


class LogVerified(Event):
    """Somebody who is logged in to the node's page had the log verified."""

    type = "log:file:verified"
    subject_field = "by"
    by: Reader
    entries: Annotated[Count, Field(description="how many entries verified")]
    intact: Annotated[Flag, Field(description="whether all of it verified")]


class HeadCosigned(Event):
    """A participant cosigned a head of another's log: it continues the one that it cosigned before."""

    type = "log:head:cosigned"
    subject_field = "log"
    log: Annotated[Name, Field(description="whose log")]
    by: Annotated[Name, Field(description="who cosigned")]
    size: Annotated[Count, Field(description="entries under the head")]
    root: Annotated[Digest, Field(description="the head's Merkle root, in hexadecimal")]


class HeadRefused(Event):
    """A participant refused to cosign a head: the log was rolled back, or written anew."""

    type = "log:head:refused"
    subject_field = "log"
    log: Annotated[Name, Field(description="whose log")]
    by: Annotated[Name, Field(description="who refused")]
    size: Annotated[Count, Field(description="entries under the head that was offered")]
    cosigned: Annotated[Count, Field(description="entries under the head that was cosigned last")]
    reason: Annotated[
        Literal["rollback", "fork"],
        Field(description="`rollback`: it is shorter than that one; `fork`: it does not continue it"),
    ]


class ServiceStarted(Event):
    """A daemon began to serve."""

    type = "daemon:service:started"
    subject_field = "role"
    role: Role
    version: Annotated[Release, Field(description="Privity's version")]


class ServiceStopped(Event):
    """A daemon stopped in good order; without this entry it was killed."""

    type = "daemon:service:stopped"
    subject_field = "role"
    role: Role


class ServicePaused(Event):
    """The operator paused the node: it refuses contracts until it is resumed, and finishes what was signed."""

    type = "daemon:service:paused"
    subject_field = "role"
    role: Role


class ServiceResumed(Event):
    """The operator ended the pause: the node takes contracts again."""

    type = "daemon:service:resumed"
    subject_field = "role"
    role: Role


class LoginOffered(Event):
    """Whoever may use the home asked for a link to the node's page, which works once."""

    type = "page:login:offered"
    subject_field = "role"
    role: Reader


class LoginOpened(Event):
    """The link was used: a browser is logged in to the node's page."""

    type = "page:login:opened"
    subject_field = "role"
    role: Reader


class IdentityCreated(Event):
    """This participant's identity key was made."""

    type = "keys:identity:created"
    subject_field = "fingerprint"
    fingerprint: Fingerprint


class IdentityRotated(Event):
    """This participant's key handed over to another, which signs every later head.

    The old key signs the head over this entry, which is the last one under it.
    """

    type = "keys:identity:rotated"
    subject_field = "fingerprint"
    fingerprint: Annotated[Fingerprint, Field(description="the fingerprint of the key that follows")]
    public_key: PublicKey
    predecessor: Annotated[PublicKey, Field(description="the key that signed so far, in hexadecimal")]


class PartnerAdded(Event):
    """The operator confirmed a partner's key."""

    type = "keys:partner:added"
    subject_field = "name"
    name: Name
    fingerprint: Fingerprint


class PartnerRemoved(Event):
    """The operator withdrew the confirmation of a partner's key."""

    type = "keys:partner:removed"
    subject_field = "name"
    name: Name
    fingerprint: Fingerprint


class PartnerKeyOffered(Event):
    """A partner's confirmed key handed over to another one, which the operator has yet to accept."""

    type = "keys:partner:offered"
    subject_field = "name"
    name: Name
    confirmed: Fingerprint
    successor: Annotated[Fingerprint, Field(description="the fingerprint of the key that follows")]


class PartnerKeyReplaced(Event):
    """The operator accepted the key that a partner's confirmed key handed over to."""

    type = "keys:partner:replaced"
    subject_field = "name"
    name: Name
    fingerprint: Annotated[Fingerprint, Field(description="the key confirmed so far")]
    successor: Annotated[Fingerprint, Field(description="the key confirmed from here on")]


class PartnerRevoked(Event):
    """The operator revoked a partner's key: nothing that it signs is taken any more."""

    type = "keys:partner:revoked"
    subject_field = "name"
    name: Name
    fingerprint: Fingerprint


class CertificateExpiring(Event):
    """A certificate ends within thirty days, or has ended."""

    type = "keys:certificate:expiring"
    subject_field = "certificate"
    certificate: Annotated[
        Literal["own", "gateway"], Field(description="`own`, of this daemon or gateway; `gateway`, which it must show")
    ]
    days: Annotated[Count, Field(description="whole days that are left")]


class PartnerMismatched(Event):
    """A key came under a partner's name that is not the one confirmed; it was refused."""

    type = "keys:partner:mismatched"
    subject_field = "name"
    name: Name
    confirmed: Fingerprint | None = None  # None: nobody confirmed any
    presented: Fingerprint
    session: Session | None = None


class PolicyRead(Event):
    """The rules by which this node signs from here on: at its start, and whenever their file was changed."""

    type = "policy:file:read"
    subject_field = "digest"
    digest: Annotated[Digest, Field(description="SHA-256 of the file; of no bytes if there is none")]
    valid: Annotated[Flag, Field(description="whether its rules can be read; if not, nothing is signed")]


class DataAdded(Event):
    """A data set was put into the vault."""

    type = "vault:data:added"
    subject_field = "name"
    name: DataSet
    version: DataVersion
    rows: Count
    columns: Count


class DataMatched(Event):
    """Rows of a data set that all parties of a matching have were put into the vault, as a data set of their own."""

    type = "vault:data:matched"
    subject_field = "name"
    name: DataSet
    version: DataVersion
    rows: Count
    columns: Count
    session: Session
    source: Annotated[DataSet, Field(description="the data set whose rows they are")]
    days: Annotated[Count, Field(description="for how many days, as the contract says")]


class DataShared(Event):
    """A data set's schema may be published from here on, and sessions may use it; or no longer."""

    type = "vault:data:shared"
    subject_field = "name"
    name: DataSet
    version: DataVersion
    shareable: Flag


class VaultKeyRotated(Event):
    """Every data set's key was wrapped anew, and every model's share sealed anew, under another vault key."""

    type = "vault:key:rotated"
    subject_field = "to"
    data_sets: Count
    models: Count
    to: Annotated[Literal["file", "env", "command"], Field(description="`file`, `env` or `command`: where it is")]


class DataRead(Event):
    """A data set's key was handed out: to a session's worker, or to the operator."""

    type = "vault:data:read"
    subject_field = "name"
    name: DataSet
    version: DataVersion
    rows: Count
    columns: Annotated[Count, Field(description="how many columns were asked for")]
    session: Session | None = None  # None: the operator, at the command line


class DataRemoved(Event):
    """A data set's key was destroyed."""

    type = "vault:data:removed"
    subject_field = "name"
    name: DataSet
    version: DataVersion | None = None  # None: its manifest was damaged


class ModelStored(Event):
    """This participant keeps its share of a model, for predictions."""

    type = "vault:model:stored"
    subject_field = "model"
    model: Model
    days: Annotated[Count, Field(description="for how many days, as the contract says")]


class ModelUsed(Event):
    """A share of a model was handed to the worker of a prediction session."""

    type = "vault:model:used"
    model: Model
    session: Session


class ModelDeleted(Event):
    """This participant's share of a model was destroyed."""

    type = "vault:model:deleted"
    subject_field = "model"
    model: Model
    by: Annotated[
        Literal["operator", "expiry", "withdrawal"], Field(description="`operator`, `expiry` or `withdrawal`")
    ]


class RecordsKept(Event):
    """Keyed digests of the own record ids of a session were stored, to tell later which sessions held a record."""

    type = "vault:records:kept"
    session: Session
    rows: Annotated[Count, Field(description="this party's own rows")]
    days: Annotated[Count, Field(description="for how many days")]


class RecordsDestroyed(Event):
    """The key of a session's record digests was destroyed: which records it held can't be told any more."""

    type = "vault:records:destroyed"
    session: Session
    by: Annotated[Literal["operator", "expiry"], Field(description="`operator` or `expiry`")]


class RecordsSearched(Event):
    """Somebody asked which sessions held one record; the id stands nowhere."""

    type = "vault:records:searched"
    subject_field = "by"
    by: Reader
    sessions: Annotated[Count, Field(description="how many sessions could be searched")]


class ContractReceived(Event):
    """A contract came from the gateway."""

    type = "session:contract:received"
    session: Session
    parties: Count


class ContractApproved(Event):
    """This participant signed the contract."""

    type = "session:contract:approved"
    session: Session
    by: Decider


class ContractRefused(Event):
    """This participant refused the contract."""

    type = "session:contract:refused"
    session: Session
    by: Decider
    reason: Code


class ContractExpired(Event):
    """The contract's time ran out before the session began."""

    type = "session:contract:expired"
    session: Session


class ContractAltered(Event):
    """A contract or an approval is not the one that was signed; it was refused."""

    type = "session:contract:altered"
    session: Session
    found: Annotated[Digest | None, Field(description="the digest of what came instead")] = None
    who: Annotated[Name, Field(description="in whose name it came")]


class ConsentWithdrawn(Event):
    """A party ended its consent to a session: what it kept of it is destroyed, and serves nobody from here on."""

    type = "session:consent:withdrawn"
    session: Session
    who: Annotated[Name, Field(description="whose consent ended")]
    by: Annotated[
        Literal["operator", "partner"],
        Field(description="this participant's `operator`, or a `partner`, whose signed word came"),
    ]
    digest: Annotated[Digest, Field(description="SHA-256 of the signed withdrawal")]


class SessionStarted(Event):
    """All approvals were verified and the session began."""

    type = "session:run:started"
    session: Session
    epoch: Count
    parties: Count


class SessionCompleted(Event):
    """The session ended as the contract says."""

    type = "session:run:completed"
    session: Session
    rounds: Count
    bytes_sent: Count


class SessionFailed(Event):
    """The session ended before its end."""

    type = "session:run:failed"
    session: Session
    reason: Code
    who: Annotated[Name, Field(description="where it failed first")]


class SessionCancelled(Event):
    """Somebody ended the session."""

    type = "session:run:cancelled"
    session: Session
    reason: Code
    who: Annotated[Name, Field(description="who ended it")]


class WorkerStarted(Event):
    """A process began to compute for the session."""

    type = "session:worker:started"
    session: Session
    epoch: Count
    certificate: Annotated[Digest, Field(description="SHA-256 of the worker's TLS certificate")]


class WorkerEnded(Event):
    """The session's process is gone."""

    type = "session:worker:ended"
    session: Session
    exit: Exit


class RecordsMatched(Event):
    """The parties compared keyed digests of their record ids."""

    type = "session:records:matched"
    session: Session
    rows: Annotated[Count, Field(description="this party's own rows")]
    equal: Annotated[Flag, Field(description="whether all digests were equal")]


class OpeningsCounted(Event):
    """All masked openings of the session, which show nothing, in total."""

    type = "session:openings:counted"
    session: Session
    rounds: Count
    words: Count
    bytes_sent: Count


class DisclosureRecorded(Event):
    """A value that the contract names is about to be opened; written before this party's share leaves."""

    type = "session:disclosure:recorded"
    session: Session
    name: Disclosed
    recipients: Annotated[tuple[Recipient, ...], Field(min_length=1, max_length=64)]
    shape: Annotated[tuple[Count, ...], Field(max_length=MAX_DIMENSIONS, description="lengths; empty for one number")]
    clause: Clause
    count: Annotated[Count, Field(description="how often so far, this one included")]
    transcript: Annotated[Digest | None, Field(description="keyed digest of all that was opened before")] = None


class DisclosureRefused(Event):
    """Something asked to open what the contract does not allow; nothing left."""

    type = "session:disclosure:refused"
    session: Session
    name: Annotated[Disclosed | None, Field(description="what was asked for, if that is a name")] = None
    recipients: Annotated[tuple[Recipient, ...], Field(max_length=64)] = ()
    shape: Annotated[
        tuple[Count, ...], Field(max_length=MAX_DIMENSIONS, description="lengths; empty for one number")
    ] = ()
    who: Annotated[Name, Field(description="whose process asked")]
    reason: Code


class FrameRefused(Event):
    """A party's process sent, or asked for, something that does not come next in what the contract has it compute.

    It was answered nothing, and the session ended here.
    """

    type = "session:frame:refused"
    session: Session
    who: Annotated[Name, Field(description="whose process sent it")]
    name: Annotated[Disclosed | None, Field(description="what it was called, if that is a name")] = None
    shape: Annotated[
        tuple[Count, ...], Field(max_length=MAX_DIMENSIONS, description="lengths; empty for one number")
    ] = ()
    expected: Annotated[Disclosed, Field(description="what comes next")]


class TranscriptCompared(Event):
    """Two parties compared the hash chains of all that was opened so far."""

    type = "session:transcript:compared"
    session: Session
    partner: Name
    digest: Digest
    equal: Annotated[Flag, Field(description="whether both were the same")]


class TranscriptSigned(Event):
    """A party's signature on its hash chain at the session's end came, and was compared with the own one."""

    type = "session:transcript:signed"
    session: Session
    partner: Name
    digest: Digest
    equal: Annotated[Flag, Field(description="whether it is the own one, and the first that the party signed")]


class ResultStored(Event):
    """A disclosure of which this participant is a recipient was stored."""

    type = "session:result:stored"
    session: Session
    name: Disclosed
    digest: Annotated[Digest, Field(description="digest of the stored result, keyed by a salt that lies beside it")]


class SessionProposed(Event):
    """The gateway made a contract of an analyst's plan."""

    type = "gateway:session:proposed"
    session: Session
    plan: Annotated[Digest, Field(description="SHA-256 of the plan")]
    parties: Count


class ApprovalStored(Event):
    """The gateway keeps a participant's signed approval."""

    type = "gateway:approval:stored"
    session: Session
    name: Name
    digest: Annotated[Digest, Field(description="SHA-256 of the envelope")]


class InvitationMade(Event):
    """The gateway's operator invited an organisation."""

    type = "gateway:invitation:made"
    subject_field = "name"
    name: Name


class InvitationUsed(Event):
    """An organisation used its invitation, which holds no longer."""

    type = "gateway:invitation:used"
    subject_field = "name"
    name: Name
    fingerprint: Fingerprint


class ConsoleOffered(Event):
    """Whoever holds the gateway's token asked for an address of its console, which works once."""

    type = "gateway:login:offered"
    subject_field = "role"
    role: Analyst


class ConsoleOpened(Event):
    """The address was used: a browser is logged in to the gateway's console."""

    type = "gateway:login:opened"
    subject_field = "role"
    role: Analyst


class NodeJoined(Event):
    """A known node or dealer opened its stream to the gateway."""

    type = "gateway:node:joined"
    subject_field = "name"
    name: Name
    fingerprint: Fingerprint


class KeyReplaced(Event):
    """A daemon came to the gateway with a key that its known one handed over to; it is the one known from here on."""

    type = "gateway:key:replaced"
    subject_field = "name"
    name: Name
    known: Fingerprint
    successor: Annotated[Fingerprint, Field(description="the fingerprint of the key that follows")]


class KeyMismatched(Event):
    """A daemon came to the gateway under a known name with another key; it was refused."""

    type = "gateway:key:mismatched"
    subject_field = "name"
    name: Name
    known: Fingerprint
    presented: Fingerprint


VOCABULARY: Final[Mapping[str, type[Event]]] = MappingProxyType({kind.type: kind for kind in Event.__subclasses__()})


def session_of(event: Event) -> str | None:
    """The session that an event is about, if it is about one."""
    found: str | None = getattr(event, "session", None)
    return found


def participants_of(event: Event) -> frozenset[str]:
    """The participants that an event names, as who did it, whom it is about, or to whom something was disclosed."""
    named = {
        str(getattr(event, field))
        for field, info in type(event).model_fields.items()
        if any(isinstance(item, _Participant) for item in info.metadata)
    }
    for recipient in getattr(event, "recipients", ()):
        named |= set(recipient.partition(":")[2].split(",")) - {""}
    return frozenset(named)


def allowed_name(asked: str) -> str | None:
    """What a process asked to open, if it reads like a disclosure's name: a process may ask for any text."""
    return asked if re.fullmatch(DISCLOSURE_PATTERN, asked) else None

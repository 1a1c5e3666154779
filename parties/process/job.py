"""What a daemon and its session process say to each other over standard streams: JSON lines, one model each.

The first line in is the job. Before each disclosure the worker sends an intent and waits for the node's answer; the
node, never the worker, writes log, store and epoch.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SecretStr, StringConstraints, TypeAdapter, model_validator

from mpc.curves import Between
from mpc.frames import MAX_DIMENSIONS
from mpc.stages import Stage
from parties.agreement.contract import Approval, Disclosed, Hex32, Recipient
from parties.agreement.plan import Frozen, Name
from parties.columns.encoding import Encoding
from parties.columns.preparation import OriginalUnits, Standardiser
from parties.service.home import Device
from parties.service.messages import (
    Code,
    Count,
    Fault,
    InformationValue,
    MeasuredLink,
    Seconds,
    Sentence,
    Stages,
    ToldModel,
    Validated,
)


class TlsMaterial(Frozen):
    """A session's TLS key: the private half hidden in print."""

    key_pem: SecretStr
    certificate: str


class Recording(Frozen):
    """The seed of a run's secrets, and where its recording goes; hidden in print."""

    seed: Hex32 = Field(repr=False)
    key: Hex32 = Field(repr=False)  # that seals the recording
    path: str


class TapeDigests(Frozen):
    """What a whole recording is known by: parties.sealing.Digests."""

    version: Hex32
    ciphertext: Hex32


class Job(Frozen):
    """What every session's process is told."""

    name: Name
    contract: str  # canonical JSON
    approvals: dict[Name, Approval]
    epoch: int
    tls: TlsMaterial
    inbox_fd: int  # where connections of those who dial this participant arrive


class PartyJob(Job):
    """Everything that a party's worker is told."""

    role: Literal["party"] = "party"
    data_key: SecretStr  # hexadecimal
    manifest: str  # JSON of the data set's manifest
    data_path: str
    device: Device = "cpu"
    model: SecretStr | None = None  # JSON of this party's part of the model, where the session predicts by one
    recording: SecretStr | None = None  # JSON of a Recording, where the contract keeps one


class DealerJob(Job):
    """Everything that a dealer's session process is told."""

    role: Literal["dealer"] = "dealer"


AnyJob = Annotated[PartyJob | DealerJob, Field(discriminator="role")]
ANY_JOB: TypeAdapter[AnyJob] = TypeAdapter(AnyJob)


class Intent(Frozen):
    """The worker is about to disclose; it waits for the answer."""

    type: Literal["intent"] = "intent"
    name: Disclosed
    recipient: Recipient
    values: Annotated[int, Field(ge=1)]
    transcript: Hex32 | None = None  # the keyed digest of all opened words so far


Signature = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]  # Ed25519, in hexadecimal


class Answer(Frozen):
    """The node's answer to an intent, or to what is to be signed or checked: recorded durably, or refused."""

    type: Literal["answer"] = "answer"
    refused: str = ""
    signature: Signature | Literal[""] = ""  # where one was asked for


class Commit(Frozen):
    """What the worker sent so far, for the node to sign: chains and digests of mpc.commitment, in hexadecimal."""

    type: Literal["commit"] = "commit"
    stage: Annotated[int, Field(ge=1)]
    sent: dict[Name, Hex32]  # by the receiver
    dealer: Hex32
    block: Hex32
    dealer_key: Hex32


class Committed(Frozen):
    """What another party's worker sent as its commitment, for the node to check and keep."""

    type: Literal["committed"] = "committed"
    who: Name
    commit: Commit
    signature: Signature
    equal: bool  # whether its chain to this party is of what came here


class AskedKey(Frozen):
    """The dealer's process asks for a signature on the digest of the key that it shares with a party."""

    type: Literal["asked-key"] = "asked-key"
    party: Name
    dealer_key: Hex32


class KeySigned(Frozen):
    """What came from the dealer as that signature, for the party's node to check and keep."""

    type: Literal["key-signed"] = "key-signed"
    dealer_key: Hex32
    signature: Signature


class Matched(Frozen):
    """The id lists are equal; digests of which stay between the parties."""

    type: Literal["matched"] = "matched"
    rows: Count
    training_rows: Count


class Advanced(Frozen):
    """How far the run is; no iterations before the engine counts them."""

    type: Literal["advanced"] = "advanced"
    stage: Stage | None = None
    iteration: Count
    of: Count
    rounds: Count
    bytes_sent: Count
    loss: Annotated[float, Field(allow_inf_nan=False)] | None = None


class OwnModel(ToldModel):
    """This party's own part of a model, in its own units too; hidden in print."""

    standardised: tuple[float, ...] = Field(repr=False)
    original: OriginalUnits = Field(repr=False)
    intercept: float | None = Field(repr=False)  # standardised units, at the label's owner
    losses: tuple[float, ...]


class OwnEvidence(Frozen):
    """What this party was told of the label in a column's bins, and the weights that follow; hidden in print."""

    column: str
    bins: tuple[str, ...] = Field(repr=False)  # in this party's words
    positives: tuple[Between, ...] = Field(repr=False)
    negatives: tuple[Between, ...] = Field(repr=False)
    weights: tuple[float, ...] = Field(repr=False)


class Outcome(Frozen):
    """This party's own result. Stays at the node."""

    columns: tuple[str, ...] = Field(repr=False)  # of the engine that vary, in this party's words
    models: tuple[OwnModel, ...]  # one, or each C and class
    evidence: tuple[OwnEvidence, ...] = ()  # of own columns that are weighed by the label
    information_values: tuple[InformationValue, ...] = ()
    validated: tuple[Validated, ...] = ()
    rungs: tuple[Count, ...] = ()  # of the range ladder, on which each segment ended
    iterations: Count = 0
    tol: str | None = None  # what the gradients were held against; None where the contract does not tell
    converged: bool | None = None
    stages: Stages = Field(default_factory=dict)


class ModelPart(Frozen):
    """One party's part of a model: what prepares its columns, and a share of all weights; hidden in print.

    Of several classes it has the weights of each, one after the other.
    """

    encoding: Encoding = Field(repr=False)
    standardiser: Standardiser = Field(repr=False)
    share: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{16})+$")] = Field(repr=False)  # little-endian words

    @classmethod
    def of(cls, encoding: Encoding, standardiser: Standardiser, words: NDArray[np.int64]) -> Self:
        """Shapes: words (d, classes)."""
        return cls(encoding=encoding, standardiser=standardiser, share=words.T.astype("<i8").tobytes().hex())

    def weights(self, classes: int) -> NDArray[np.int64]:
        """Shapes: -> (d, classes)."""
        return np.frombuffer(bytes.fromhex(self.share), dtype="<i8").astype(np.int64).reshape(classes, -1).T


class Predicted(Frozen):
    """What this party, the recipient, was told of some rows; hidden in print. Stays at the node."""

    type: Literal["predicted"] = "predicted"
    ids: tuple[str, ...] = Field(repr=False)
    probabilities: tuple[tuple[Annotated[float, Field(ge=0, le=1)], ...], ...] = Field(repr=False)  # of each class

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.ids) != len(self.probabilities):
            raise ValueError("ids and probabilities differ in number")
        return self


class FoundRows(Frozen):
    """Some of this party's rows that all parties of a matching have; hidden in print. Stays at the node."""

    type: Literal["found"] = "found"
    rows: tuple[Count, ...] = Field(repr=False)  # of the data set, in the order of its ids
    ids: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")], ...] = Field(repr=False)  # shared by all

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.rows) != len(self.ids):
            raise ValueError("rows and ids differ in number")
        return self


class Opened(Frozen):
    """What this party was told by a disclosure that it had asked for; hidden in print. Stays at the node."""

    type: Literal["opened"] = "opened"
    name: Disclosed
    recipient: Recipient
    words: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]*={0,2}$")] = Field(repr=False)

    @classmethod
    def of(cls, name: str, recipient: str, words: NDArray[np.int64]) -> Self:
        """`words` become base64 of little-endian 64-bit integers, in order."""
        content = np.ascontiguousarray(words, dtype="<i8").tobytes()
        return cls(name=name, recipient=recipient, words=base64.b64encode(content).decode())


class Done(Frozen):
    """The end of a run; `transcript` is the digest of all opened words, keyed by the parties' key.

    What the session is told of models and times goes on to the gateway; outcome and model do not.
    """

    type: Literal["done"] = "done"
    outcome: Outcome | None = None
    model: ModelPart | None = Field(default=None, repr=False)
    converged: bool | None = None
    estimate: Count | None = None  # of common records, rounded; 0: fewer than are told
    models: tuple[ToldModel, ...] = ()
    validated: tuple[Validated, ...] = ()
    information_values: tuple[InformationValue, ...] = ()
    transcript: Hex32 | None = None
    tape: TapeDigests | None = None  # of the recording, where one is kept
    openings: Count = 0
    words: Count = 0
    rounds: Count = 0
    bytes_sent: Count = 0
    seconds: Seconds = 0.0
    stages: Stages = Field(default_factory=dict)
    links: tuple[MeasuredLink, ...] = ()


class RefusedFrame(Frozen):
    """What a peer's process sent where the program has something else, in its own words."""

    name: Annotated[str, StringConstraints(max_length=32)]
    shape: Annotated[tuple[Annotated[int, Field(ge=0, lt=1 << 64)], ...], Field(max_length=MAX_DIMENSIONS)]
    expected: Annotated[str, StringConstraints(max_length=32)]


class Broken(Frozen):
    """The run failed: what the own operator may read, what others may, and which other participant caused it."""

    type: Literal["broken"] = "broken"
    code: Code
    what: Sentence
    action: Sentence
    outward: Sentence
    who: str = ""  # who went away, or sent what was refused; otherwise this participant itself
    refused: RefusedFrame | None = None
    differing: Annotated[
        tuple[Count, ...], Field(max_length=16)
    ] = ()  # places in the contract of those whose transcript is another than the own one
    transcript: Hex32 | None = None  # which is this

    def fault(self, own: Name, others: Collection[str]) -> Fault:
        who = self.who if self.who in others else own
        return Fault(code=self.code, who=who, what=self.outward, action=self.action)


FromWorker = Intent | Commit | Committed | AskedKey | KeySigned | Opened | Matched | Advanced | Predicted | FoundRows
Report = Annotated[FromWorker | Done | Broken, Field(discriminator="type")]
REPORT: TypeAdapter[Report] = TypeAdapter(Report)


def job_line(job: PartyJob | DealerJob) -> bytes:
    """The job as one line, secrets included: it goes into a pipe to the child and nowhere else."""
    content = job.model_dump(mode="json")
    content["tls"]["key_pem"] = job.tls.key_pem.get_secret_value()
    if isinstance(job, PartyJob):
        content["data_key"] = job.data_key.get_secret_value()
        content["model"] = job.model and job.model.get_secret_value()
        content["recording"] = job.recording and job.recording.get_secret_value()
    return base64.b64encode(json.dumps(content).encode()) + b"\n"


def parse_job(line: bytes) -> PartyJob | DealerJob:
    return ANY_JOB.validate_json(base64.b64decode(line))

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

from mpc.frames import MAX_DIMENSIONS
from parties.contract import Approval, Disclosed, Hex32, Recipient
from parties.encoding import Encoding
from parties.messages import Code, Count, Fault, Seconds, Sentence, Stages, ToldModel, Validated
from parties.plan import Frozen, Name
from parties.preparation import OriginalUnits, Standardiser


class TlsMaterial(Frozen):
    """A session's TLS key: the private half hidden in print."""

    key_pem: SecretStr
    certificate: str


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
    model: SecretStr | None = None  # JSON of this party's part of the model, where the session predicts by one


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


class Answer(Frozen):
    """The node's answer to an intent: recorded durably, or refused."""

    type: Literal["answer"] = "answer"
    refused: str = ""


class Matched(Frozen):
    """The id lists are equal; digests of which stay between the parties."""

    type: Literal["matched"] = "matched"
    rows: Count
    training_rows: Count


class Advanced(Frozen):
    """How far the run is."""

    type: Literal["advanced"] = "advanced"
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


class Outcome(Frozen):
    """This party's own result. Stays at the node."""

    columns: tuple[str, ...] = Field(repr=False)  # of the engine that vary, in this party's words
    models: tuple[OwnModel, ...]  # one, or each C and class
    validated: tuple[Validated, ...] = ()
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


class Done(Frozen):
    """The end of a run; `transcript` is the digest of all opened words, keyed by the parties' key.

    What the session is told of models and times goes on to the gateway; outcome and model do not.
    """

    type: Literal["done"] = "done"
    outcome: Outcome | None = None
    model: ModelPart | None = Field(default=None, repr=False)
    converged: bool | None = None
    models: tuple[ToldModel, ...] = ()
    validated: tuple[Validated, ...] = ()
    transcript: Hex32 | None = None
    openings: Count = 0
    words: Count = 0
    rounds: Count = 0
    bytes_sent: Count = 0
    seconds: Seconds = 0.0
    stages: Stages = Field(default_factory=dict)


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


Report = Annotated[Intent | Matched | Advanced | Predicted | FoundRows | Done | Broken, Field(discriminator="type")]
REPORT: TypeAdapter[Report] = TypeAdapter(Report)


def job_line(job: PartyJob | DealerJob) -> bytes:
    """The job as one line, secrets included: it goes into a pipe to the child and nowhere else."""
    content = job.model_dump(mode="json")
    content["tls"]["key_pem"] = job.tls.key_pem.get_secret_value()
    if isinstance(job, PartyJob):
        content["data_key"] = job.data_key.get_secret_value()
        content["model"] = job.model and job.model.get_secret_value()
    return base64.b64encode(json.dumps(content).encode()) + b"\n"


def parse_job(line: bytes) -> PartyJob | DealerJob:
    return ANY_JOB.validate_json(base64.b64decode(line))

"""What the parties agree on: one explicit document, the same bytes everywhere, and the signatures under it.

A contract's id is the SHA-256 of its canonical JSON (RFC 8785). The gateway writes it and is trusted for nothing in it:
each node and the dealer check every key against the partners that their operators confirmed, and derive the program
and the list of disclosures again from what the contract says, before they sign.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeAlias

import rfc8785
from pydantic import AfterValidator, Field, StringConstraints, ValidationError, field_validator, model_validator
from rich.filesize import decimal

from mpc.design import Opening, Recipients
from mpc.evidence_program import Evidence, Weighed
from mpc.fused_program import Convergence, Fused
from mpc.prediction_program import Runnable
from mpc.program import Program, derive
from mpc.quantiles_program import Quantiles, Ranked
from mpc.specification import MAX_CELLS, Spec
from parties.agreement import joining
from parties.agreement.joining import Costs
from parties.agreement.plan import (
    AssessmentDigest,
    Column,
    EvaluationPlan,
    Frozen,
    Iterations,
    LabelPlan,
    ModelPlan,
    Name,
    Partition,
    RetentionPlan,
    SplitPlan,
    Text,
    Title,
    check_assessment,
    check_columns,
    check_label_holder,
    explain,
)
from parties.agreement.quote import Quote, quote
from parties.columns.division import Division
from parties.columns.recipe import PreparationPlan
from parties.errors import ContractError
from parties.keys.identity import Identity, fingerprint, unseal
from parties.keys.tls import one_certificate

Matching: TypeAlias = Literal["equal-ids", "equal-classes", "joined-ids"]
MATCHINGS: dict[Partition, Matching] = {"columns": "equal-ids", "rows": "equal-classes", "blocks": "joined-ids"}
LEVELS = "levels"  # the disclosure of a column's levels to who has more rows of it
_DIVIDED = {"columns": "divided by columns", "rows": "divided by rows", "blocks": "in blocks"}

APPROVAL_TYPE = "application/vnd.privity.approval.v1+json"

Address = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,253}:[0-9]{1,5}$")]  # HOST:PORT
Disclosed = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._:-]{0,79}$")]
Recipient = Annotated[
    str,
    StringConstraints(
        pattern=r"^(session|party:[a-z0-9][a-z0-9_-]{0,63}|parties:[a-z0-9][a-z0-9_-]{0,63}(,[a-z0-9][a-z0-9_-]{0,63}){1,15})$"
    ),
]
DataVersion = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32,64}$")]
Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Participant(Frozen):
    """An organisation and the key that it signs with."""

    name: Name
    public_key: Hex32

    @property
    def key(self) -> bytes:
        return bytes.fromhex(self.public_key)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.key)


class Party(Participant):
    """One organisation's rectangle of the joint table."""

    data: Name
    data_version: DataVersion
    schema_sha256: Hex32  # of what its node publishes of the data set
    id_column: Column
    columns: tuple[Column, ...]
    rows: Annotated[int, Field(ge=1, le=MAX_CELLS)]


class Disclosure(Frozen):
    """One opening that the parties allow, and the clause that says so."""

    clause: Annotated[str, StringConstraints(pattern=r"^disclosures\.[0-9]+$")]
    name: Disclosed
    recipient: Recipient  # "party:NAME", "parties:NAME,NAME", or "session" for every party and the gateway
    count: Annotated[int, Field(ge=1)]  # how often, at most
    values: Annotated[int, Field(ge=1)]  # how many numbers each time, at most


class Terms(Frozen, ABC):
    """What contracts of every kind say; each kind adds its program, and what that follows from."""

    version: Literal[1] = 1
    nonce: Hex32
    created: datetime
    expires: datetime
    purpose: Text
    legal_basis: Text
    impact_assessment: Title
    impact_assessment_sha256: AssessmentDigest = ""  # of the document
    parties: Annotated[tuple[Party, ...], Field(min_length=2, max_length=16)]
    dealer: Participant
    quote: Quote
    disclosures: tuple[Disclosure, ...]

    @field_validator("created", "expires")
    @classmethod
    def _aware(cls, moment: datetime) -> datetime:
        if moment.tzinfo is None:
            raise ValueError("a time needs its time zone")
        return moment

    @model_validator(mode="after")
    def _sound(self) -> Self:
        everybody = [*self.parties, self.dealer]
        if len({p.name for p in everybody}) != len(everybody) or len({p.public_key for p in everybody}) != len(
            everybody
        ):
            raise ValueError("a name or a key stands twice among parties and dealer; the dealer must not be a party")
        if self.expires <= self.created:
            raise ValueError("expires before it was created")
        check_assessment(self.impact_assessment, self.impact_assessment_sha256)
        return self

    def canonical(self) -> bytes:
        return rfc8785.dumps(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """The session's id everywhere."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def party(self, name: str) -> Party:
        """Raises: ContractError if there is no such party."""
        for party in self.parties:
            if party.name == name:
                return party
        raise ContractError(f"'{name}' is not a party of this session", reason="party")

    def rank(self, name: str) -> int:
        return [party.name for party in self.parties].index(self.party(name).name)

    def discloses(self, name: str) -> bool:
        """Whether anything of this name may be opened."""
        return any(item.name == name for item in self.disclosures)

    @property
    def told_before(self) -> tuple[Opening, ...]:
        """What is disclosed beside the program."""
        return ()

    @property
    def beside(self) -> Costs:
        """What parties send each other beside the program, by rank."""
        return ()

    @property
    def replay_days(self) -> int:
        """For how long each party keeps a recording of what came in; 0: none is kept."""
        return 0

    @property
    def recording_in_words(self) -> str:
        """What is kept for a replay, for people; empty where nothing is."""
        if not self.replay_days:
            return ""
        size = decimal(self.quote.recorded_bytes)
        return f"a sealed recording of what came in, about {size}, at each party, for {self.replay_days} days"

    @abstractmethod
    def check_derived(self) -> None:
        """Derive again what follows from the contract, instead of believing whoever wrote it.

        Raises: ContractError if program, quote or list of disclosures is not what follows; ProgramError if none does.
        """

    def _check_follows(self, written: Runnable, program: Runnable) -> None:
        """Raises: ContractError if program, quote or list of disclosures is written otherwise than it follows."""
        if program != written:
            raise _another_program()
        if self.quote != quote(program, self.beside):
            raise ContractError(
                "the contract's quote is not what its program costs",
                action="refuse, and ask the gateway's operator who changed it",
                reason="derived",
            )
        if self.disclosures != disclosures_for(program, [party.name for party in self.parties], self.told_before):
            raise ContractError(
                "the contract's list of disclosures is not the one that its program makes",
                action="refuse, and ask the gateway's operator who changed it",
                reason="derived",
            )


class Contract(Terms):
    """Everything that a training may do."""

    kind: Literal["training"] = "training"
    partition: Partition = "columns"
    label: LabelPlan
    # equal-ids reveals to the parties whether their id lists are equal, and the counts; equal-classes, of a table that
    # is divided by rows, whether the label's classes are the same everywhere; joined-ids, of one in blocks, whether
    # row-wise partners together have the others' ids; what else it tells is the disclosure "membership".
    matching: Matching = "equal-ids"
    preparation: PreparationPlan
    model: ModelPlan
    split: SplitPlan  # in the order of HMAC-SHA256(contract digest, id), which no two contracts share
    evaluation: EvaluationPlan
    loss_every: Iterations
    program: Program
    retention: RetentionPlan = RetentionPlan(model_days=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_matching(self.partition, self.matching)
        check_label_holder(self.partition, self.label, [party.name for party in self.parties])
        check_columns(self.parties, self.label, self.partition)
        self.division.check_rows(self.parties)
        self.preparation.check(self.parties)
        if self.partition == "rows" and self.retention.model_days:
            raise ValueError("retention: no shares of a model are kept by rows, where every party is told all of it")
        if self.retention.model_days and not self.model.tells_one:
            raise ValueError("retention: of several values of C no shares are kept; a cross-validation picks one")
        return self

    @property
    def division(self) -> Division:
        """Who has which columns of which part of the rows."""
        return Division.of(self.partition, self.parties)

    @property
    def told_before(self) -> tuple[Opening, ...]:
        return told_before(self.partition, self.parties, self.preparation)

    @property
    def beside(self) -> Costs:
        return beside(self.partition, self.parties, self.label, self.preparation)

    def agreed_columns(self, rank: int) -> tuple[str, ...]:
        """A party's columns of which others have rows too, and whose levels all of these agree on."""
        own = self.parties[rank].columns if self.division.is_divided(rank) else ()
        return self.preparation.capped(own)

    def ranked_columns(self, rank: int) -> dict[int, str]:
        """A party's columns of which others have rows too, and whose joint quantiles are told: by place among all."""
        found = enumerate(_ranked(self.division, self.parties, self.preparation))
        return {place: name for place, (side, name) in found if rank in side}

    def averaged_columns(self, rank: int) -> dict[int, str]:
        """A party's columns of which others have rows too, and whose joint mean is told: by place among all."""
        found = enumerate(_averaged(self.division, self.parties, self.preparation))
        return {place: name for place, (side, name) in found if rank in side}

    @property
    def replay_days(self) -> int:
        return self.retention.replay_days

    @property
    def split_key(self) -> bytes:
        """Orders the records, for the held-out split and for folds: no two contracts can have the same order."""
        return bytes.fromhex(self.digest)

    @property
    def convergence(self) -> Convergence | None:
        """What the last gradient is held against, if all are told."""
        return self.program.convergence if isinstance(self.program, Fused) else None

    @property
    def weighed(self) -> list[Weighing]:
        """Columns that are weighed by the label."""
        return weighing(self.division, self.parties, self.preparation)

    def training_rows(self, name: str) -> int:
        """How many of a party's records are trained on: of each part as many everywhere."""
        division = self.division
        counts = division.counts(self.parties)
        return sum(training_rows(counts[part], self.split.held_out) for part in division.parts_of(self.rank(name)))

    def check_derived(self) -> None:
        facts = (self.parties, self.label, self.model, self.preparation, self.split, self.evaluation)
        program = derive(spec_for(*facts, self.loss_every, partition=self.partition))
        self._check_follows(self.program, program)
        if program.loss_every != self.loss_every:
            raise _another_program()


def check_matching(partition: Partition, matching: Matching) -> None:
    """Raises: ValueError unless it is what a table that is divided so needs."""
    if matching != (needed := MATCHINGS[partition]):
        raise ValueError(f"matching: a table {_DIVIDED[partition]} needs {needed}")


def _another_program() -> ContractError:
    return ContractError(
        "the contract's program is not the one that follows from its plan",
        action="refuse, and ask the gateway's operator who changed it",
        reason="derived",
    )


def training_rows(rows: int, held_out: str) -> int:
    from fractions import Fraction

    return rows - int(Fraction(held_out) * rows)


class Weighing(NamedTuple):
    """A column that is weighed by the label; of several parties' the first is named."""

    party: str
    name: str
    column: int  # of the joint table
    bins: int


def weighing(division: Division, parties: Sequence[Party], preparation: PreparationPlan) -> list[Weighing]:
    """Columns that are weighed by the label, in the order of the joint table."""
    firsts = [parties[side[0]] for side in division.sides]
    starts = accumulate((preparation.width(party.columns) for party in firsts), initial=0)
    return [
        Weighing(party.name, each.name, start + each.start, each.bins)
        for party, start in zip(firsts, starts, strict=False)
        for each in preparation.weighed(party.columns)
    ]


def _evidence(
    division: Division, parties: Sequence[Party], preparation: PreparationPlan, folds: int
) -> Evidence | None:
    columns = tuple(Weighed(column=each.column, bins=each.bins) for each in weighing(division, parties, preparation))
    if not columns:
        return None
    cell, tells_values = preparation.smallest_bin, preparation.information_value
    return Evidence(columns=columns, smallest_cell=cell, tells_values=tells_values, folds=folds)


def _ranked(
    division: Division, parties: Sequence[Party], preparation: PreparationPlan
) -> list[tuple[tuple[int, ...], str]]:
    """Columns whose quantiles several parties take together, with these."""
    return [(side, name) for side in division.divided for name in preparation.ranked(parties[side[0]].columns)]


def _averaged(
    division: Division, parties: Sequence[Party], preparation: PreparationPlan
) -> list[tuple[tuple[int, ...], str]]:
    """Columns whose gaps several parties fill with the mean of all values, with these."""
    return [(side, name) for side in division.divided for name in preparation.averaged(parties[side[0]].columns)]


def _quantiles(division: Division, parties: Sequence[Party], preparation: PreparationPlan) -> Quantiles | None:
    found = tuple(
        Ranked(owners=side, quantiles=tuple(each.as_integer_ratio() for each in preparation.of(name).quantiles))
        for side, name in _ranked(division, parties, preparation)
    )
    return Quantiles(columns=found, smallest_cell=preparation.smallest_bin) if found else None


def spec_for(
    parties: tuple[Party, ...],
    label: LabelPlan,
    model: ModelPlan,
    preparation: PreparationPlan,
    split: SplitPlan,
    evaluation: EvaluationPlan,
    loss_every: int,
    *,
    partition: Partition = "columns",
) -> Spec:
    """What the engine must know of the contract."""
    division, names = Division.of(partition, parties), [party.name for party in parties]
    rows = division.counts(parties)
    counts = [training_rows(each, split.held_out) for each in rows]
    others = [each - count for each, count in zip(rows, counts, strict=True)]
    facts = (
        [preparation.width(party.columns) for party in parties],
        [names.index(name) for name in label.holders or names],
    )
    training = division.partition(counts, *facts)
    return Spec(
        **training.model_dump(),
        C=model.C,
        classes=len(label.told_apart),
        folds=model.folds,
        fit_intercept=model.fit_intercept,
        solver=None if model.solver == "auto" else model.solver,
        max_iter=model.iterations(training.rows),
        loss_every=loss_every,
        clip_bits=preparation.clip_bits,
        tol=model.tol,
        noise=model.noise,
        batch_rows=model.batch_size or None,
        learning_rate=model.learning_rate if model.solver == "sgd" else None,
        held_out=division.partition(others, *facts) if evaluation.figures else None,
        figures=evaluation.figures,
        smallest_cell=evaluation.smallest_cell,
        evidence=_evidence(division, parties, preparation, model.folds),
        quantiles=_quantiles(division, parties, preparation),
        means=tuple(side for side, _ in _averaged(division, parties, preparation)),
    )


def membership(partition: Partition, parties: Sequence[Party]) -> tuple[Opening, ...]:
    """Of a table in blocks, what parties of all records are told: which of those with the same columns has which."""
    if partition != "blocks":
        return ()
    division = Division.of(partition, parties)
    records = sum(division.counts(parties))
    return (Opening(name="membership", recipients=division.whole, count=1, values=records),)


def levels_told(division: Division, parties: Sequence[Party], preparation: PreparationPlan) -> tuple[Opening, ...]:
    """What parties with the same columns tell each other so that they take the same levels: each as many as a cap."""
    found = []
    for side in division.divided:
        columns = preparation.capped(parties[side[0]].columns)
        if most := sum(preparation.of(name).most_levels for name in columns):
            found.append(Opening(name=LEVELS, recipients=side, count=1, values=most * len(side)))
    return tuple(found)


def told_before(partition: Partition, parties: Sequence[Party], preparation: PreparationPlan) -> tuple[Opening, ...]:
    """What a training discloses beside its program."""
    division = Division.of(partition, parties)
    return (*membership(partition, parties), *levels_told(division, parties, preparation))


def beside(partition: Partition, parties: Sequence[Party], label: LabelPlan, preparation: PreparationPlan) -> Costs:
    """What the parties of a training send each other beside its program, by rank."""
    division = Division.of(partition, parties)
    capped = [
        preparation.capped(party.columns) if division.is_divided(rank) else () for rank, party in enumerate(parties)
    ]
    return joining.total(
        joining.comparing_classes(
            len(parties), [rank for rank, party in enumerate(parties) if label.held_by(party.name)]
        ),
        joining.comparing_ids(division, parties),
        joining.telling_levels(division, [sum(preparation.of(name).most_levels for name in names) for names in capped]),
    )


def disclosures_for(program: Runnable, names: list[str], told_before: Sequence[Opening] = ()) -> tuple[Disclosure, ...]:
    """Every opening that the program makes, and what is told beside it, with the parties' names."""
    return tuple(
        Disclosure(
            clause=f"disclosures.{number}",
            name=item.name,
            recipient=recipient(item.recipients, names),
            count=item.count,
            values=item.values,
        )
        for number, item in enumerate((*program.disclosures(), *told_before))
    )


def recipient(ranks: Recipients, names: Sequence[str]) -> str:
    """How a contract names those who are told."""
    if ranks == "session":
        return "session"
    told = [names[rank] for rank in ranks]
    return f"party:{told[0]}" if len(told) == 1 else f"parties:{','.join(told)}"


class Approval(Frozen):
    """What a participant signs: this contract, run by a worker with this TLS key at this address."""

    contract: Hex32
    name: Name
    role: Literal["party", "dealer"]
    certificate: Annotated[str, StringConstraints(max_length=4096), AfterValidator(one_certificate)]  # the worker's
    endpoint: Address
    epoch: Annotated[int, Field(ge=1)] = 1


def sign_approval(identity: Identity, approval: Approval) -> dict[str, Any]:
    return identity.seal(APPROVAL_TYPE, rfc8785.dumps(approval.model_dump(mode="json")))


def check_approval(contract: Terms, name: str, envelope: dict[str, Any]) -> Approval:
    """The approval in an envelope, if the participant of that name signed it for this very contract.

    Raises: ContractError otherwise.
    """
    signer = contract.dealer if name == contract.dealer.name else contract.party(name)
    payload = unseal(envelope, signer.key, APPROVAL_TYPE)
    try:
        approval = Approval.model_validate_json(payload)
    except ValidationError as exc:
        raise ContractError(f"{name}'s approval does not hold: {explain(exc)}") from exc
    role = "dealer" if name == contract.dealer.name else "party"
    if approval.contract != contract.digest:
        raise ContractError(
            f"{name} approved another contract than this one",
            action="the contract was altered; refuse",
            reason="altered",
        )
    if approval.name != name or approval.role != role:
        raise ContractError(f"an approval by '{approval.name}' as {approval.role} came in {name}'s place")
    return approval


def check_approvals(contract: Terms, envelopes: dict[str, dict[str, Any]]) -> dict[str, Approval]:
    """All participants' approvals. Raises: ContractError if one is missing or does not hold."""
    expected = [*(party.name for party in contract.parties), contract.dealer.name]
    missing = [name for name in expected if name not in envelopes]
    if missing:
        raise ContractError(f"no approval of {', '.join(missing)} came", action="ask its operator to approve")
    approvals = {name: check_approval(contract, name, envelopes[name]) for name in expected}
    if len({approval.certificate for approval in approvals.values()}) != len(approvals):
        raise ContractError("two approvals name the same TLS key", action="find out who copied the other's; refuse")
    return approvals

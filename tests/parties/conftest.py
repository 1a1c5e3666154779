"""A small consortium on paper: identities, a contract between them, and what changes of either look like."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import rfc8785

from mpc.matching_program import derive_matching
from mpc.prediction_program import derive_prediction
from mpc.program import derive
from parties.agreement.contract import (
    Approval,
    Contract,
    Participant,
    Party,
    beside,
    disclosures_for,
    sign_approval,
    spec_for,
)
from parties.agreement.joining import comparing_ids
from parties.agreement.match_plan import MatchingContract
from parties.agreement.match_rules import IdRule, MatchRules
from parties.agreement.plan import EvaluationPlan, LabelPlan, ModelPlan, SplitPlan
from parties.agreement.prediction import PredictionContract
from parties.agreement.prediction import spec_for as prediction_spec_for
from parties.agreement.quote import quote
from parties.audit.log import AuditLog
from parties.columns.division import Division
from parties.columns.encoding import Encoding, FittedColumn, ReadColumn
from parties.columns.recipe import PreparationPlan, Recipe
from parties.keys.identity import Identity
from parties.keys.tls import Invitation, TlsKey, utc_now
from parties.service.home import Home, init

CREATED = datetime(2026, 11, 1, 12, tzinfo=UTC)
NONCE = "0e" * 32


def draft(a: str, b: str, dealer: str, *, rows: int = 400, expires: datetime | None = None) -> Contract:
    """A contract between clinic-a, which has the label, clinic-b and a dealer, of these public keys."""
    parties = (
        Party(
            name="clinic-a",
            public_key=a,
            data="cohort",
            data_version="ab" * 16,
            schema_sha256="5a" * 32,
            id_column="patient",
            columns=("age", "dose"),
            rows=rows,
        ),
        Party(
            name="clinic-b",
            public_key=b,
            data="labs",
            data_version="cd" * 16,
            schema_sha256="5b" * 32,
            id_column="patient",
            columns=("iron",),
            rows=rows,
        ),
    )
    label = LabelPlan(party="clinic-a", column="outcome", positive="yes")
    model, preparation, split = ModelPlan(max_iter=20), PreparationPlan(), SplitPlan(held_out="0.25")
    evaluation = EvaluationPlan()
    program = derive(spec_for(parties, label, model, preparation, split, evaluation, 10))
    return Contract(
        nonce=NONCE,
        created=CREATED,
        expires=expires or CREATED + timedelta(hours=24),
        purpose="predict the outcome",
        legal_basis="consent",
        impact_assessment="",
        parties=parties,
        dealer=Participant(name="dealer", public_key=dealer),
        label=label,
        preparation=preparation,
        model=model,
        split=split,
        evaluation=evaluation,
        loss_every=program.loss_every,
        program=program,
        quote=quote(program, beside("columns", parties, label, preparation)),
        disclosures=disclosures_for(program, [party.name for party in parties]),
    )


def draft_prediction(trained: Contract, parties: tuple[Party, ...]) -> PredictionContract:
    """New rows of the parties of a training that keeps its model; clinic-b is told."""
    preparation, fit_intercept = trained.preparation, trained.model.fit_intercept
    program = derive_prediction(
        prediction_spec_for("columns", parties, "clinic-b", preparation, fit_intercept, trained.label.told_apart)
    )
    return PredictionContract(
        nonce="0f" * 32,
        created=trained.created,
        expires=trained.expires,
        purpose="score new patients",
        legal_basis="consent",
        impact_assessment="",
        parties=parties,
        dealer=trained.dealer,
        quote=quote(program, comparing_ids(Division.of("columns", parties), parties)),
        disclosures=disclosures_for(program, [party.name for party in parties]),
        model=trained.digest,
        recipient="clinic-b",
        preparation=preparation,
        fit_intercept=fit_intercept,
        told_apart=trained.label.told_apart,
        program=program,
    )


def plain(*names: str) -> Encoding:
    """Of columns of numbers that are taken as they are."""
    return Encoding(columns=tuple(FittedColumn(name=name, recipe=Recipe()) for name in names))


def numbers(names: Sequence[str], values: np.ndarray) -> tuple[ReadColumn, ...]:
    """A matrix as columns that were read."""
    return tuple(ReadColumn(name, values[:, place]) for place, name in enumerate(names))


def draft_matching(base: Contract, *, estimate: bool = False, **changed: Any) -> MatchingContract:
    """The parties of a training find their common records, each by its id and a birthday; or about how many."""
    columns = {"clinic-a": ("patient", "birthday"), "clinic-b": ("number", "born")}
    parties = tuple(
        party.model_copy(update={"data": "patients", "columns": columns[party.name]}) for party in base.parties
    )
    program = derive_matching([party.rows for party in parties], estimate=estimate)
    fields: dict[str, Any] = {
        "nonce": "0e" * 32,
        "created": base.created,
        "expires": base.expires,
        "purpose": "find common patients",
        "legal_basis": "consent",
        "impact_assessment": "",
        "parties": parties,
        "dealer": base.dealer,
        "quote": quote(program),
        "disclosures": disclosures_for(program, [party.name for party in parties]),
        "reveal": "estimate" if estimate else "records",
        "result": None if estimate else "matched-patients",
        "keep_days": 30,
        "rules": MatchRules(columns=(IdRule(), IdRule(kind="date"))),
        "program": program,
    }
    return MatchingContract(**(fields | changed))


class Consortium:
    """Who would sign: identities and session keys of two clinics and a dealer, and their contract."""

    def __init__(self) -> None:
        self.identities = {name: Identity.generate() for name in ("clinic-a", "clinic-b", "dealer")}
        self.keys = {name: TlsKey.generate(name, now=datetime.now(UTC)) for name in self.identities}
        self.contract = draft(*(identity.public.hex() for identity in self.identities.values()))

    def approval(self, of: str, **changed: Any) -> Approval:
        fields = {
            "contract": self.contract.digest,
            "name": of,
            "role": "dealer" if of == "dealer" else "party",
            "certificate": self.keys[of].certificate,
            "endpoint": "127.0.0.1:9",
        }
        return Approval(**fields | changed)

    def envelopes(self) -> dict[str, dict[str, Any]]:
        return {name: sign_approval(identity, self.approval(name)) for name, identity in self.identities.items()}


@pytest.fixture(scope="session")
def consortium() -> Consortium:
    return Consortium()


@pytest.fixture(scope="session")
def contract(consortium: Consortium) -> Contract:
    return consortium.contract


@pytest.fixture(scope="session")
def paper() -> Contract:
    """A contract whose every byte is known: made-up keys and fixed times."""
    return draft("11" * 32, "22" * 32, "33" * 32)


@pytest.fixture
def home(tmp_path) -> Home:
    """A party's home, not yet started."""
    token = Invitation.create("clinic-a", "127.0.0.1:1", "ab" * 32).token()
    return init(tmp_path / "home", "party", token, "127.0.0.1:0", utc_now())


@pytest.fixture
def journal(home) -> Iterator[AuditLog]:
    """The log of that home."""
    with AuditLog.open(home.path("audit.sqlite"), home.identity, "clinic-a") as opened:
        yield opened


@pytest.fixture
def altered(contract: Contract) -> Callable[[Callable[[dict[str, Any]], None]], bytes]:
    """The contract's canonical bytes after a change that a dishonest gateway could make."""

    def alter(change: Callable[[dict[str, Any]], None]) -> bytes:
        content = json.loads(contract.canonical())
        change(content)
        return rfc8785.dumps(content)

    return alter

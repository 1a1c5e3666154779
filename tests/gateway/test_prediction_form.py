"""The form of a prediction and its plan, both ways; which models and data sets it offers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateway.console import prediction_form
from gateway.console.complaints import Errors, parse
from gateway.console.forms import Form
from gateway.console.prediction_form import model_of, offers
from gateway.views import ParticipantView, SessionView
from parties.agreement.contract import Contract
from parties.agreement.plan import RetentionPlan
from parties.agreement.prediction import PredictionPlan, parse_prediction_plan
from parties.data.schema import Column, Schema
from parties.service.lifecycle import State
from parties.service.messages import PublishedData
from tests.parties.conftest import draft

PLAN = {
    "kind": "prediction",
    "purpose": "see whether it is kept",
    "legal_basis": "consent",
    "impact_assessment": "a title",
    "dealer": "d",
    "expires_in_hours": 7,
    "model": "ab" * 32,
    "recipient": "clinic-b",
    "retention": {"replay_days": 3},
    "parties": [{"name": "clinic-a", "data": "new"}, {"name": "clinic-b", "data": "labs"}],
}


@pytest.fixture
def trained() -> Contract:
    """A training that keeps its model for thirty days."""
    found = draft("11" * 32, "22" * 32, "33" * 32)
    return found.model_copy(update={"retention": RetentionPlan(model_days=30)})


def published(name: str, *columns: Column) -> PublishedData:
    return PublishedData(table=Schema(name=name, rows=400, id_column="id", columns=columns), version="ab" * 16)


def number(name: str, *, complete: bool = True) -> Column:
    return Column(name=name, kind="number", complete=complete)


def participant(name: str, *data: PublishedData) -> ParticipantView:
    return ParticipantView(name=name, role="party", fingerprint=None, online=True, published=data, head=None)


PEOPLE = [
    participant(
        "clinic-a",
        published("cohort", number("age"), number("dose"), number("weight")),
        published("half", number("age")),
        published("gaps", number("age"), number("dose", complete=False)),
        published("new", number("dose"), number("age")),
    ),
    participant("clinic-b", published("labs", number("iron"))),
    participant("clinic-c", published("labs", number("iron"))),
]
DATA = [("clinic-a", PEOPLE[0].published[3]), ("clinic-b", PEOPLE[1].published[0])]


def read(form: Form) -> tuple[PredictionPlan | None, Errors]:
    return parse(PredictionPlan, prediction_form.content_of(form, DATA), prediction_form.field_of)


def test_the_form_keeps_a_plan():
    """What a plan says comes back from the form that it fills in."""
    plan = parse_prediction_plan(PLAN)
    assert read(prediction_form.form_of(plan)) == (plan, {})


def test_data_sets_with_the_model_s_columns_are_offered(trained: Contract):
    """Of the training's parties alone; what it was trained on comes last."""
    found = offers(trained, PEOPLE)
    assert {party: [data.table.name for data in fitting] for party, fitting in found.items()} == {
        "clinic-a": ["new", "cohort"],
        "clinic-b": ["labs"],
    }
    assert offers(trained, PEOPLE[:1])["clinic-b"] == []


def test_a_first_form_lacks_what_only_its_writer_knows(trained: Contract):
    """New rows are chosen; purpose and recipient are left to be said."""
    form = prediction_form.first_form("ab" * 32, offers(trained, PEOPLE), "d")
    assert form.all("data") == ("clinic-a:new", "clinic-b:labs")
    assert read(form) == (None, {"purpose": ["is missing"], "recipient": ["is missing"]})


def test_data_sets_of_as_many_rows_are_chosen(trained: Contract):
    """Where several fit, those that can be of the same records."""
    fewer = published("fewer", number("dose"), number("age"))
    fewer = fewer.model_copy(update={"table": fewer.table.model_copy(update={"rows": 7})})
    offered = {"clinic-a": [fewer, *PEOPLE[0].published[3:]], "clinic-b": [*PEOPLE[1].published]}
    assert offers(trained, PEOPLE)["clinic-a"][0].table.rows == 400
    form = prediction_form.first_form("ab" * 32, offered, "d")
    assert form.all("data") == ("clinic-a:new", "clinic-b:labs")


def view(contract: Contract, **changed: Any) -> SessionView:
    told = {"converged": None, "estimate": None, "models": (), "validated": (), "fault": None, "participants": ()}
    session = {"id": contract.digest, "state": State.COMPLETED, "kind": "training", "purpose": contract.purpose}
    when = {"created": contract.created, "expires": contract.expires, "waiting_for": ()}
    return SessionView.model_validate(told | session | when | changed)


def test_a_model_is_one_that_is_kept(trained: Contract):
    """By a training that completed and keeps it, until its days are over or a party withdrew."""
    end = trained.created + timedelta(days=30)
    found = model_of(view(trained), trained, end - timedelta(seconds=1))
    assert found is not None
    assert (found.id, found.until) == (trained.digest, end)
    assert model_of(view(trained), trained, end) is None
    for changed in ({"state": State.FAILED}, {"withdrawn": ("clinic-b",)}):
        assert model_of(view(trained, **changed), trained, trained.created) is None
    keeps_none = draft("11" * 32, "22" * 32, "33" * 32)
    assert model_of(view(keeps_none), keeps_none, keeps_none.created) is None

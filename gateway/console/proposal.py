"""Proposing by form: choose what it is about, fill in the plan, read what it means and costs, propose exactly that."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from gateway.api.dependencies import Coordinator
from gateway.console import matching_form, prediction_form, training_form
from gateway.console.complaints import Errors, errors_of, parse
from gateway.console.forms import Form, read_form
from gateway.console.plan_form import chosen_data
from gateway.console.prediction_form import MODELS_LISTED, Model, model_of
from gateway.console.rendering import page
from gateway.coordination.seen import SeenSessions
from gateway.errors import BadForm
from gateway.planning.estimate import Link
from gateway.planning.plan_text import plan_text
from gateway.storage.selection import Selection
from gateway.views import ParticipantView
from mpc.errors import PrivityError
from mpc.evaluation_program import EVERY_FIGURE
from parties.agreement.kinds import MATCHING, PREDICTION, TRAINING, Kind, ProposedPlan, parse_plan_text, training
from parties.agreement.leaving import leaving
from parties.agreement.match_plan import MatchingPlan
from parties.agreement.plan import Plan, explain
from parties.agreement.prediction import PredictionPlan
from parties.keys.tls import utc_now
from parties.service.lifecycle import State

LEAST_PARTIES: Final = 2
FIELD_OF: Final[Mapping[str, Callable[[str], str]]] = {
    TRAINING: training_form.field_of,
    MATCHING: matching_form.field_of,
    PREDICTION: prediction_form.field_of,
}

router = APIRouter(include_in_schema=False)
SessionId = Annotated[str, Query(pattern="^([0-9a-f]{64})?$")]
Fields = Annotated[Form, Depends(read_form)]


@router.get("/propose", response_class=HTMLResponse)
async def begin(
    request: Request, sessions: Coordinator, like: SessionId = "", kind: Kind = "training", model: SessionId = ""
) -> HTMLResponse:
    """What it is about; or the form, filled in as an earlier session's plan or for what was chosen."""
    if like:
        return _form(request, sessions, _form_of(sessions.plan(like)))
    people = sessions.participants()
    if kind == PREDICTION:
        if not model:
            return page(request, "choose_model.html", kind=kind, models=_models(sessions), most=MODELS_LISTED)
        offered = prediction_form.offers(training(sessions.agreed(model)), people)
        return _form(request, sessions, prediction_form.first_form(model, offered, _dealer(people)))
    asked = _chosen(request)
    data = chosen_data(asked, people)
    if len(data) >= LEAST_PARTIES:
        dealer = _dealer(people)
        if kind == TRAINING:
            return _form(request, sessions, training_form.first_form(data, dealer))
        names = dict(data)
        taken = {each.table.name for one in people if one.name in names for each in one.published}
        return _form(request, sessions, matching_form.first_form(data, dealer, taken))
    return page(
        request,
        "choose.html",
        kind=kind,
        parties=[one for one in people if one.role == "party"],
        chosen=asked.all("data"),
        dealers=_dealers(people),
        is_short=asked.has("data") or "again" in request.query_params,
    )


@router.post("/propose/review", response_class=HTMLResponse)
async def review(request: Request, sessions: Coordinator, form: Fields) -> HTMLResponse:
    """What the plan means and costs; or the form again, each complaint at its field, or with room for more."""
    if form.get("kind") == MATCHING:
        form = matching_form.tidied(form)
    if form.has("more"):
        return _form(request, sessions, form)
    plan, errors = _parsed(form, sessions)
    if plan is None:
        return _form(request, sessions, form, errors)
    try:
        return _review(request, sessions, plan, _link(form))
    except PrivityError as exc:
        return _form(request, sessions, form, errors_of(exc, FIELD_OF[plan.kind]))


@router.post("/propose/edit", response_class=HTMLResponse)
async def edit(request: Request, sessions: Coordinator, form: Fields) -> HTMLResponse:
    """The form once more, as the plan that was read has it."""
    return _form(request, sessions, _form_of(parse_plan_text(form.get("plan"))))


@router.post("/propose", response_class=RedirectResponse)
async def propose(sessions: Coordinator, form: Fields) -> RedirectResponse:
    """Propose the very plan that was read; once, however often the button is pressed."""
    proposed = sessions.propose(parse_plan_text(form.get("plan")), form.get("key") or None)
    return RedirectResponse(f"/sessions/{proposed.record.digest}", HTTPStatus.SEE_OTHER)


def _chosen(request: Request) -> Form:
    """One group of buttons for each party: its name is part of the field's."""
    items = request.query_params.multi_items()
    return Form(tuple(("data", value) for name, value in items if name.startswith("data.") and value))


def _models(sessions: SeenSessions) -> list[Model]:
    """What the newest trainings that the account sees have left."""
    views = [each.view for each in sessions.sessions(Selection((State.COMPLETED,), "training", limit=MODELS_LISTED))]
    found = (model_of(view, training(sessions.agreed(view.id)), utc_now()) for view in views)
    return [model for model in found if model]


def _dealers(people: list[ParticipantView]) -> list[str]:
    return [one.name for one in people if one.role == "dealer" and one.public_key]


def _dealer(people: list[ParticipantView]) -> str:
    return next(iter(_dealers(people)), "dealer")


def _link(form: Form) -> Link:
    """Raises: BadForm if there is no such link."""
    given = {name: value for name in ("round_trip_ms", "mbit_s") if (value := form.get(name))}
    try:
        return Link.model_validate(given)
    except ValidationError as exc:
        raise BadForm(f"links: {explain(exc)}", action="mend the numbers, or leave them empty") from exc


def _form_of(plan: ProposedPlan) -> Form:
    match plan:
        case MatchingPlan():
            return matching_form.form_of(plan)
        case PredictionPlan():
            return prediction_form.form_of(plan)
        case _:
            return training_form.form_of(plan)


def _parsed(form: Form, sessions: SeenSessions) -> tuple[ProposedPlan | None, Errors]:
    """The plan of the form, or what is wrong with it."""
    data = chosen_data(form, sessions.participants())
    match form.get("kind"):
        case "matching":
            return parse(MatchingPlan, matching_form.content_of(form, data), matching_form.field_of)
        case "prediction":
            return parse(PredictionPlan, prediction_form.content_of(form, data), prediction_form.field_of)
        case _:
            return parse(Plan, training_form.content_of(form, data), training_form.field_of)


def _review(request: Request, sessions: SeenSessions, plan: ProposedPlan, link: Link) -> HTMLResponse:
    """Raises: as `contract_for` if no contract comes of the plan."""
    contract, estimate = sessions.preview(plan, link)
    return page(
        request,
        "review.html",
        plan=plan,
        plan_json=plan.model_dump_json(),
        text=plan_text(plan),
        contract=contract,
        leaving=leaving(contract, ""),
        estimate=estimate,
        key=secrets.token_urlsafe(24),
    )


def _form(request: Request, sessions: SeenSessions, form: Form, errors: Errors | None = None) -> HTMLResponse:
    people = sessions.participants()
    kind = form.get("kind") or TRAINING
    return page(
        request,
        f"{kind if kind in FIELD_OF else TRAINING}.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK,
        form=form,
        errors=errors or {},
        data=chosen_data(form, people),
        dealers=[one.name for one in people if one.role == "dealer"],
        link=Link(),
        **_own(form, sessions, people),
    )


def _own(form: Form, sessions: SeenSessions, people: list[ParticipantView]) -> dict[str, Any]:
    """What the form of the plan's kind shows beside its fields. Raises: NotFound, ContractError for no model."""
    match form.get("kind"):
        case "matching":
            return {
                "turns": matching_form.turns(form),
                "ways": matching_form.WAYS,
                "id_columns": matching_form.id_columns,
            }
        case "prediction":
            trained = training(sessions.agreed(form.get("model")))
            return {"trained": trained, "offers": prediction_form.offers(trained, people)}
        case _:
            return {
                "figures": EVERY_FIGURE,
                "recipes": training_form.RECIPES,
                "ways_of": training_form.ways_of,
                "kept": training_form.KEPT,
            }

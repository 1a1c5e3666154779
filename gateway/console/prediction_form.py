"""Between the fields of the proposal form and a prediction's plan, both ways, and which data sets can be predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.console.forms import Form
from gateway.console.plan_form import LINES, Data, first_lines, lines_in, lines_of
from gateway.views import ParticipantView, SessionView
from parties.agreement.contract import Contract, Party
from parties.agreement.kinds import PREDICTION
from parties.agreement.prediction import PredictionPlan
from parties.data.schema import check_features
from parties.errors import DataError
from parties.service.lifecycle import State
from parties.service.messages import PublishedData

REPLAY_DAYS: Final = "retention.replay_days"
MODELS_LISTED: Final = 50  # of the newest trainings; an older one's own page leads to the form as well


@dataclass(frozen=True)
class Model:
    """A completed training that left its model in shares."""

    id: str
    contract: Contract
    until: datetime  # when the first share of it may be deleted


def model_of(view: SessionView, contract: Contract, now: datetime) -> Model | None:
    """None if the session left none, its time is over, or a party withdrew, which destroyed its share."""
    until = view.created + timedelta(days=contract.retention.model_days)
    is_kept = view.state is State.COMPLETED and contract.retention.model_days and not view.withdrawn and now < until
    return Model(view.id, contract, until) if is_kept else None


def offers(trained: Contract, people: Sequence[ParticipantView]) -> dict[str, list[PublishedData]]:
    """By party of the training, in its order, the data sets that have the model's columns; the trained one last."""
    published = {one.name: one.published for one in people}
    found: dict[str, list[PublishedData]] = {}
    for party in trained.parties:
        fitting = [data for data in published.get(party.name, ()) if _fits(trained, party, data)]
        old = [data for data in fitting if data.table.name == party.data]
        found[party.name] = [data for data in fitting if data not in old] + old
    return found


def _fits(trained: Contract, party: Party, data: PublishedData) -> bool:
    try:
        if party.columns:
            check_features(data.table, party.columns, trained.preparation.of)
    except DataError:
        return False
    return True


def first_form(model: str, offered: Mapping[str, Sequence[PublishedData]], dealer: str) -> Form:
    """The fields as they stand when only the model was chosen; data sets of equal rows at all parties come first."""
    counts = [{data.table.rows for data in fitting} for fitting in offered.values()]
    common = set.intersection(*counts) if counts else set()
    chosen = {
        party: min(fitting, key=lambda data: data.table.rows not in common).table.name
        for party, fitting in offered.items()
        if fitting
    }
    data = [("data", f"{party}:{name}") for party, name in chosen.items()]
    return Form((("kind", PREDICTION), ("model", model), *data, *first_lines(dealer), (REPLAY_DAYS, "0")))


def form_of(plan: PredictionPlan) -> Form:
    """The fields that make this plan."""
    fields = [("kind", PREDICTION), ("model", plan.model), ("recipient", plan.recipient)]
    fields += [("data", f"{party.name}:{party.data}") for party in plan.parties]
    return Form((*fields, *lines_of(plan), (REPLAY_DAYS, str(plan.retention.replay_days))))


def content_of(form: Form, data: Data) -> dict[str, Any]:
    """The plan's keys as the form has them; what is empty is left out, so that defaults hold."""
    own: dict[str, Any] = {name: form.get(name) for name in ("model", "recipient")}
    if days := form.get(REPLAY_DAYS):
        own["retention"] = {"replay_days": days}
    parties = [{"name": party, "data": published.table.name} for party, published in data]
    return lines_in(form) | own | {"kind": PREDICTION, "parties": parties}


def field_of(where: str) -> str:
    """The field, of all that the form has, at which a complaint about a plan's key is read."""
    first, *rest = where.split(".")
    if first == "parties" and rest:
        return f"parties.{rest[0]}"
    return where if where in {*LINES, "parties", "model", "recipient", "links", REPLAY_DAYS} else ""

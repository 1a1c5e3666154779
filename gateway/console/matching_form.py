"""Between the fields of the proposal form and a matching's plan, both ways.

Records are compared by one column of every party, or by several in turn, each with its rule. A turn in which no column
is chosen is none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import count
from typing import Any, Final

from gateway.console.forms import Form
from gateway.console.plan_form import LINES, TO_BE_SAID, Data, lines_in, lines_of, named
from parties.agreement.kinds import MATCHING
from parties.agreement.match_plan import MatchingPlan
from parties.agreement.match_rules import MAX_COLUMNS, IdRule
from parties.service.messages import PublishedData

RESULT: Final = "matched"  # what the common records are called, if nobody says otherwise
WAYS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "text": ("as text, in either case", {}),
    "exact": ("as text, just as it is written", {"fold_case": False}),
    "alphanumeric": ("letters and digits alone, in either case", {"only_alphanumeric": True}),
    "alphanumeric-exact": ("letters and digits alone", {"only_alphanumeric": True, "fold_case": False}),
    "date": ("as dates", {"kind": "date"}),
    "phone": ("as phone numbers", {"kind": "phone"}),
}
_RULE: Final = ("kind", "formats", "region")
_SEPARATOR: Final = "|"  # between forms of dates, as on the command line


def id_columns(published: PublishedData) -> list[str]:
    """Columns by which records can be compared, the data set's id first: text alone keeps how it was written."""
    table = published.table
    return [table.id_column, *(column.name for column in table.columns if column.kind != "number")]


def turns(form: Form) -> int:
    """Columns in turn for which the page has room; one more if it was asked for."""
    return min(max(1, _turns(form)) + form.has("more"), MAX_COLUMNS)


def _turns(form: Form) -> int:
    return max((turn + 1 for turn in range(MAX_COLUMNS) if form.has(f"rules.columns.{turn}.kind")), default=0)


def first_form(data: Data, dealer: str, taken: Collection[str]) -> Form:
    """The fields as they stand when only the data sets were chosen; a result's name that is `taken` is no good."""
    names = (RESULT if number == 1 else f"{RESULT}-{number}" for number in count(1))
    example = MatchingPlan.model_validate(
        {
            "kind": MATCHING,
            "purpose": "to be said",
            "dealer": dealer,
            "result": next(name for name in names if name not in taken),
            "parties": [{"name": "a", "data": "a"}, {"name": "b", "data": "b"}],
        }
    )
    fields = [(name, value) for name, value in _settings(example) if name not in TO_BE_SAID]
    return Form((("kind", MATCHING), *named(data), *fields))


def form_of(plan: MatchingPlan) -> Form:
    """The fields that make this plan."""
    fields = [("kind", MATCHING), *(("data", f"{party.name}:{party.data}") for party in plan.parties)]
    for number, party in enumerate(plan.parties):
        fields += [(f"parties.{number}.id_columns.{turn}", name) for turn, name in enumerate(party.id_columns)]
    return Form((*fields, *_settings(plan)))


def _settings(plan: MatchingPlan) -> Iterator[tuple[str, str]]:
    yield from lines_of(plan)
    yield from (("reveal", plan.reveal), ("result", plan.result or RESULT), ("keep_days", str(plan.keep_days)))
    yield from (("rules.duplicates", plan.rules.duplicates), ("rules.minimum", str(plan.rules.minimum)))
    yield "retention.replay_days", str(plan.retention.replay_days)
    for turn, rule in enumerate(plan.rules.columns):
        values = _way_of(rule), _SEPARATOR.join(rule.formats), rule.region
        yield from ((f"rules.columns.{turn}.{key}", value) for key, value in zip(_RULE, values, strict=True))


def _way_of(rule: IdRule) -> str:
    if rule.kind != "text":
        return rule.kind
    if rule.only_alphanumeric:
        return "alphanumeric" if rule.fold_case else "alphanumeric-exact"
    return "text" if rule.fold_case else "exact"


def tidied(form: Form) -> Form:
    """The same without turns, but for the first, in which no column is chosen."""
    chosen = {name.rpartition(".")[2] for name, value in form.fields if ".id_columns." in name and value}
    kept = [turn for turn in range(_turns(form)) if turn == 0 or str(turn) in chosen]
    others = [(name, value) for name, value in form.fields if _turn(name) is None]
    moved = [(_at(name, kept.index(turn)), value) for name, value in form.fields if (turn := _turn(name)) in kept]
    return Form((*others, *moved))


def _turn(name: str) -> int | None:
    """The turn that a field is of."""
    match name.split("."):
        case ["rules", "columns", turn, _] | ["parties", _, "id_columns", turn] if turn.isdecimal():
            return int(turn)
    return None


def _at(name: str, turn: int) -> str:
    steps = name.split(".")
    steps[2 if steps[0] == "rules" else 3] = str(turn)
    return ".".join(steps)


def content_of(form: Form, data: Data) -> dict[str, Any]:
    """The plan's keys as a tidied form has them; what is empty is left out, so that defaults hold."""
    found = range(turns(form))
    is_estimate = form.get("reveal") == "estimate"
    own: dict[str, Any] = {name: value for name in ("reveal", "result", "keep_days") if (value := form.get(name))}
    if is_estimate:
        own.pop("result", None)
    rules = {name: value for name in ("duplicates", "minimum") if (value := form.get(f"rules.{name}"))}
    parties = [
        {"name": party, "data": published.table.name, "id_columns": _compared(form, number, len(found))}
        for number, (party, published) in enumerate(data)
    ]
    compared = {"columns": [_rule(form, turn) for turn in found]}
    if days := form.get("retention.replay_days"):
        own["retention"] = {"replay_days": days}
    return lines_in(form) | own | {"kind": MATCHING, "rules": rules | compared, "parties": parties}


def _compared(form: Form, number: int, count: int) -> list[str]:
    """The party's column of each turn; none at all is its id."""
    names = [form.get(f"parties.{number}.id_columns.{turn}") for turn in range(count)]
    return names if any(names) or count > 1 else []


def _rule(form: Form, turn: int) -> dict[str, Any]:
    kind, formats, region = (form.get(f"rules.columns.{turn}.{key}") for key in _RULE)
    rule = dict(WAYS.get(kind, ("", {}))[1])
    if kind == "date" and formats:
        rule["formats"] = [each.strip() for each in formats.split(_SEPARATOR)]
    if kind == "phone":
        rule["region"] = region.upper()
    return rule


def field_of(where: str) -> str:
    """The field, of all that the form has, at which a complaint about a plan's key is read."""
    match where.split("."):
        case ["parties", number, "id_columns", turn]:
            return f"parties.{number}.id_columns.{turn}"
        case ["rules", "columns", turn, *rest]:
            return f"rules.columns.{turn}.{rest[0] if rest else 'kind'}"
        case ["rules", ("duplicates" | "minimum") as name, *_]:
            return f"rules.{name}"
        case ["retention", *_]:
            return "retention.replay_days"
        case [("parties" | "reveal" | "result" | "keep_days" | "links") as name, *_]:
            return name
    return where if where in LINES else ""

"""Between the fields of the proposal form and a training's plan, both ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic import ValidationError

from gateway.console.forms import Form
from gateway.console.plan_form import LINES, TO_BE_SAID, Data, lines_in, lines_of, named
from parties.agreement.kinds import TRAINING
from parties.agreement.plan import Plan
from parties.columns.recipe import PreparationPlan, Recipe
from parties.data.schema import Column

PARTS: Final = {
    "model": ("folds", "solver", "max_iter", "tol", "noise", "batch_size", "learning_rate", "epochs"),
    "split": ("held_out",),
    "evaluation": ("smallest_cell",),
    "disclosures": ("loss_reports",),
    "retention": ("model_days", "replay_days"),
}
RECIPES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "number": ("as a number", {}),
    "mean": ("a number, gaps filled with the mean", {"missing": "mean"}),
    "median": ("a number, gaps filled with the median", {"missing": "median"}),
    "bins": ("in 4 bins of equal counts", {"quantile_bins": 4}),
    "bins-gaps": ("in 4 bins of equal counts, gaps in a column of their own", {"quantile_bins": 4, "missing": "own"}),
    "levels": ("one-hot: the 20 most frequent levels", {"encoding": "one-hot", "most_levels": 20}),
    "levels-gaps": (
        "one-hot: the 20 most frequent levels, gaps in a column of their own",
        {"encoding": "one-hot", "most_levels": 20, "missing": "own"},
    ),
}
KEPT: Final = "kept"


def ways_of(column: Column) -> list[str]:
    """The recipes that a column's kind and completeness allow, the usual one first."""
    if column.kind == "number":
        return ["number", "bins"] if column.complete else ["mean", "median", "bins-gaps"]
    return ["levels" if column.complete else "levels-gaps"]


def first_form(data: Data, dealer: str) -> Form:
    """The fields as they stand when only the data sets were chosen: the defaults, and columns that need no care."""
    plain = [
        (f"parties.{number}.columns", column.name)
        for number, (_, published) in enumerate(data)
        for column in published.table.columns
        if column.kind == "number" and column.complete
    ]
    example = Plan.model_validate(
        {
            "purpose": "to be said",
            "dealer": dealer,
            "parties": [{"name": "a", "data": "a", "columns": ["x"]}, {"name": "b", "data": "b", "columns": ["y"]}],
            "label": {"party": "a", "column": "z", "positive": "1"},
        }
    )
    fields = [(name, value) for name, value in _settings(example) if name not in TO_BE_SAID]
    return Form((("kind", TRAINING), *named(data), *plain, *fields))


def form_of(plan: Plan) -> Form:
    """The fields that make this plan."""
    fields = [("kind", TRAINING), *(("data", f"{party.name}:{party.data}") for party in plan.parties)]
    for number, party in enumerate(plan.parties):
        fields += [(f"parties.{number}.columns", column) for column in party.columns]
    holder = plan.label.holders[0] if plan.label.holders else plan.parties[0].name
    fields += [("label", f"{holder}:{plan.label.column}"), ("label.positive", plan.label.positive or "")]
    fields += [("label.classes", ", ".join(plan.label.classes)), ("partition", plan.partition)]
    fields += [(f"recipe:{column}", KEPT) for column in plan.preparation.columns]
    fields.append((KEPT, plan.preparation.model_dump_json()))
    return Form((*fields, *_settings(plan)))


def _settings(plan: Plan) -> Iterator[tuple[str, str]]:
    content = plan.model_dump(mode="json")
    yield from lines_of(plan)
    for part, keys in PARTS.items():
        for key in keys:
            yield f"{part}.{key}", str(content[part][key])
    yield "model.C", ", ".join(plan.model.grid)
    yield from [("model.fit_intercept", "yes")] if plan.model.fit_intercept else []
    yield from (("evaluation.figures", figure) for figure in plan.evaluation.figures)


def content_of(form: Form, data: Data) -> dict[str, Any]:
    """The plan's keys as the form has them; what is empty is left out, so that defaults hold."""
    partition = form.get("partition") or "columns"
    holder, _, label = form.get("label").partition(":")
    columns = _in_one_order([list(form.all(f"parties.{number}.columns")) for number in range(len(data))])
    holders = _holders(partition, holder, [party for party, _ in data], columns, label)
    parties = [
        {"name": party, "data": published.table.name, "columns": _features(own, label if party in holders else "")}
        for (party, published), own in zip(data, columns, strict=True)
    ]
    content = lines_in(form) | {"partition": partition, "parties": parties}
    content["label"] = _label(form, partition, holders, label)
    content |= {part: values for part in PARTS if (values := _part(form, part))}
    content["model"] = content.get("model", {}) | {"fit_intercept": form.has("model.fit_intercept")} | _strengths(form)
    content["evaluation"] = content.get("evaluation", {}) | {"figures": list(form.all("evaluation.figures"))}
    content["preparation"] = _preparation(form, {name for party in parties for name in party["columns"]})
    return content


def _part(form: Form, part: str) -> dict[str, str]:
    return {key: value for key in PARTS[part] if (value := form.get(f"{part}.{key}"))}


def _strengths(form: Form) -> dict[str, Any]:
    values = [value.strip() for value in form.get("model.C").split(",") if value.strip()]
    return {"C": values if len(values) > 1 else values[0]} if values else {}


def _in_one_order(columns: list[list[str]]) -> list[list[str]]:
    """Parties of the same columns list them in the same order, as plans want it: the first one's."""
    orders: dict[frozenset[str], list[str]] = {}
    return [orders.setdefault(frozenset(own), own) for own in columns]


def _features(columns: Sequence[str], label: str) -> list[str]:
    return [name for name in columns if name != label]


def _holders(
    partition: str, holder: str, names: Sequence[str], columns: Sequence[Sequence[str]], label: str
) -> list[str]:
    """By rows every party, in blocks all that have the holder's columns, else the one that was chosen."""
    if partition == "rows":
        return list(names)
    if partition == "blocks" and holder in names:
        sides = [set(_features(own, label)) for own in columns]
        return [name for name, side in zip(names, sides, strict=True) if side == sides[names.index(holder)]]
    return [holder] if holder else []


def _label(form: Form, partition: str, holders: Sequence[str], column: str) -> dict[str, Any]:
    classes = [name.strip() for name in form.get("label.classes").split(",") if name.strip()]
    label: dict[str, Any] = {"column": column} if column else {}
    if partition != "rows" and holders:
        label["party"] = holders[0] if len(holders) == 1 else list(holders)
    if classes:
        label["classes"] = classes
    if positive := form.get("label.positive"):
        label["positive"] = positive
    return label


def _preparation(form: Form, columns: set[str]) -> dict[str, Any]:
    kept = PreparationPlan()
    if text := form.get(KEPT):
        try:
            kept = PreparationPlan.model_validate_json(text)
        except ValidationError:  # not what this page wrote
            kept = PreparationPlan()
    recipes: dict[str, Any] = {}
    for name in sorted(columns):
        way = form.get(f"recipe:{name}")
        recipe = kept.of(name).model_dump(mode="json") if way == KEPT else RECIPES.get(way, ("", {}))[1]
        if Recipe.model_validate(recipe) != kept.default:
            recipes[name] = recipe
    return {**kept.model_dump(mode="json", exclude={"columns"}), "columns": recipes}


def field_of(where: str) -> str:
    """The field, of all that the form has, at which a complaint about a plan's key is read."""
    first, *rest = where.split(".")
    two = ".".join(where.split(".")[:2])
    match first:
        case "parties":
            return two
        case "label":
            return "label" if rest[:1] in (["party"], ["column"]) else two if rest else "label.positive"
        case "model" | "split" | "evaluation" | "disclosures" | "retention":
            return two if rest else ""
        case "links" | "partition":
            return first
    return where if where in LINES else ""

"""A first plan from the files that it is about: every key with its meaning and default, every column accounted for.

It reads the analyst's own copies and tells about them freely; nothing here runs at a node.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from parties.errors import DataError, PlanError
from parties.plan import (
    DisclosurePlan,
    EvaluationPlan,
    ModelPlan,
    Partition,
    Plan,
    PreparationPlan,
    RetentionPlan,
    SplitPlan,
    parse_plan,
)
from parties.sources import read_csv
from parties.tables import Table, classes, features, labels

OBVIOUS_POSITIVES = {("0", "1"): 1, ("no", "yes"): 1, ("false", "true"): 1}  # of two sorted classes, which


def propose_plan(
    files: Mapping[str, Path],
    id_column: str,
    label: str,
    positive: str | None = None,
    partition: Partition = "columns",
) -> str:
    """The text of a plan that trains on all columns that can be trained on.

    `label` is "party:column", or "column" where the table is divided by rows.
    Raises: DataError for a file that can't be used; PlanError for a label that names no party's column, whose
    positive class is not obvious, for a party that would bring nothing, or, by rows, for files that differ.
    """
    owner, column = (None, label) if partition == "rows" else _split_label(label, files)
    tables = {party: replace(read_csv(path, id_column), name=party) for party, path in files.items()}
    positive = _positive(tables[owner or next(iter(tables))], column, positive)
    if owner is None:
        _check_alike(tables, column, positive)
        common = _common(tables, column)
        brought = [_party(table, *common) for table in tables.values()]
    else:
        brought = [
            _party(table, *_usable(table, column if party == owner else None), is_owner=party == owner)
            for party, table in tables.items()
        ]
    text = "\n".join([_heading(owner, column, partition), *brought, _label(owner, column, positive), _settings()])
    parse_plan(tomllib.loads(text))
    return text


def _split_label(label: str, files: Mapping[str, Path]) -> tuple[str, str]:
    owner, colon, column = label.partition(":")
    if not colon or not column:
        raise PlanError(f"the label '{label}' is not PARTY:COLUMN", action="write it as clinic-b:diagnosis")
    if owner not in files:
        raise PlanError(
            f"the label's party '{owner}' brings no file", action=f"name one of {', '.join(files)}, or add its file"
        )
    return owner, column


def _positive(table: Table, column: str, wanted: str | None) -> str:
    if wanted is not None:
        labels(table, column, wanted)
        return wanted.strip()
    found = classes(table, column)
    folded = tuple(name.casefold() for name in found)
    if folded not in OBVIOUS_POSITIVES:
        raise PlanError(
            f"the label '{table.name}:{column}' has the classes {found[0]!r} and {found[1]!r}",
            action="say which one is to be predicted, with --positive",
        )
    return found[OBVIOUS_POSITIVES[folded]]


def _check_alike(tables: Mapping[str, Table], column: str, positive: str) -> None:
    """Raises: PlanError unless all files have the same columns and classes; DataError for a label that is none."""
    (first, one), *others = tables.items()
    wanted, found = {column.name for column in one.columns}, classes(one, column)
    for party, table in others:
        names = {column.name for column in table.columns}
        if lacking := sorted(wanted - names):
            raise PlanError(
                f"'{party}' lacks column '{lacking[0]}' of '{first}'", action="give all files the same columns"
            )
        if lacking := sorted(names - wanted):
            raise PlanError(
                f"'{first}' lacks column '{lacking[0]}' of '{party}'", action="give all files the same columns"
            )
        labels(table, column, positive)
        if classes(table, column) != found:
            raise PlanError(
                f"the label '{column}' has other classes at '{party}' than at '{first}'",
                action="write the same two values in both files",
            )


def _common(tables: Mapping[str, Table], label: str) -> tuple[list[str], list[str]]:
    """Columns that can be trained on at every party, in the first one's order, and why the others can't."""
    each = [_usable(table, label, varied=False) for table in tables.values()]
    usable = [name for name in each[0][0] if all(name in found for found, _ in each)]
    reasons = [reason for _, found in each for reason in found]
    constant = [name for name in usable if _is_constant(tables, name)]
    reasons += [f"column '{name}' has the same value in every row of every party" for name in constant]
    return [name for name in usable if name not in constant], list(dict.fromkeys(reasons))


def _is_constant(tables: Mapping[str, Table], name: str) -> bool:
    values = [features(table, [name], varied=False) for table in tables.values()]
    return all(bool((each == values[0][0]).all()) for each in values)


def _usable(table: Table, label: str | None, *, varied: bool = True) -> tuple[list[str], list[str]]:
    """Columns that can be trained on, and for each other one the reason why it can't."""
    usable, reasons = [], []
    for column in table.columns:
        if column.name == label:
            continue
        try:
            features(table, [column.name], varied=varied)
        except DataError as exc:
            reasons.append(exc.what)
        else:
            usable.append(column.name)
    return usable, reasons


def _quoted(text: str) -> str:
    """A TOML basic string. JSON's escapes are TOML's, which wants one more character escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _heading(owner: str | None, column: str, partition: Partition) -> str:
    version, basis, assessment, dealer, hours = (
        Plan.model_fields[name].default
        for name in ("version", "legal_basis", "impact_assessment", "dealer", "expires_in_hours")
    )
    return f"""\
# A plan for one training session. Text after # is comment; keys that are left out take their default.

# What is asked for; a plan that has a kept model predict says "prediction". Default: "training".
kind = "training"

# Version of this format. Default: {version}.
version = {version}

# Why the data are used; all parties sign it. No default.
purpose = {_quoted(f"predict {column} of {owner}" if owner else f"predict {column}")}

# On which legal basis. Name the real one before partners are asked to sign. Default: {_quoted(basis)}.
legal_basis = {_quoted(basis)}

# Title of the data-protection impact assessment, if there is one. Default: {_quoted(assessment)}.
impact_assessment = {_quoted(assessment)}

# SHA-256 of that document; or leave it empty and write impact_assessment_file = "its path, seen from this plan", whose
# digest is taken at the proposal. The document itself goes nowhere. Default: "".
impact_assessment_sha256 = ""

# The organisation that deals out correlated randomness; it holds no data of the session. Default: {_quoted(dealer)}.
dealer = {_quoted(dealer)}

# How long approvals may take, in hours. Default: {hours}.
expires_in_hours = {hours}

# "columns": each party has some columns, of the same records. "rows": each has all of them, of its own records, and
# their labels; records that two parties hold are not noticed, and means and deviations are told. Default: "columns".
partition = {_quoted(partition)}
"""


def _party(table: Table, usable: list[str], reasons: list[str], *, is_owner: bool = False) -> str:
    if not usable and not is_owner:
        raise PlanError(
            f"no column of '{table.name}' can be trained on: {'; '.join(reasons) or 'it has only ids'}",
            action="mend its file, or leave the party out",
        )
    columns = "".join(f"    {_quoted(name)},\n" for name in usable)
    left_out = "".join(f"# Left out: {reason}.\n" for reason in reasons)
    return f"""\
[[parties]]  # {table.rows} rows when this plan was written
# The organisation, as the gateway knows it. No default.
name = {_quoted(table.name)}
# Its data set, as `privity data list` shows it there. No default.
data = {_quoted(table.name)}
# Features, in the order of the model: complete columns of numbers. Default: none (for the label's owner only).
columns = [
{columns}]
{left_out}"""


def _label(owner: str | None, column: str, positive: str) -> str:
    return f"""\
[label]
{_holder(owner)}# The column, of two values. No default.
column = {_quoted(column)}
# The value that counts as 1; the other counts as 0. No default.
positive = {_quoted(positive)}
"""


def _holder(owner: str | None) -> str:
    if owner is None:
        return ""
    return f"""\
# The party that has what is to be predicted; left out by rows, where every party has it. No default.
party = {_quoted(owner)}
"""


def _settings() -> str:
    model, preparation, split, disclosures = ModelPlan(), PreparationPlan(), SplitPlan(), DisclosurePlan()
    figures, retention = json.dumps(EvaluationPlan().figures), RetentionPlan()
    return f"""\
[model]
# Names and meanings are those of scikit-learn's LogisticRegression. Default: "{model.kind}".
kind = {_quoted(model.kind)}
# Inverse strength of the L2 penalty, a decimal in quotes; smaller is stronger. Default: "{model.C}".
C = {_quoted(model.C)}
# Whether the model has an intercept, which is not penalised. Default: {str(model.fit_intercept).lower()}.
fit_intercept = {str(model.fit_intercept).lower()}
# "newton", "nesterov", "sgd", or "auto": newton up to 256 columns and 100 iterations. Default: "{model.solver}".
solver = {_quoted(model.solver)}
# Iterations, all of which are run; 0 is what the solver needs. Default: {model.max_iter}.
max_iter = {model.max_iter}
# All are told whether the mean gradient's greatest entry ended below this, a decimal in quotes; "0" is not told, "auto"
# is "0.0001" or, if that is more, the least that rounding lets be told; of sgd nothing is told. Default: "{model.tol}".
tol = {_quoted(model.tol)}
# Of sgd alone, which needs it: rows of one step. Default: {model.batch_size}.
batch_size = {model.batch_size}
# Of sgd alone, which needs it: the learning rate, a decimal in quotes such as "0.01". Default: "{model.learning_rate}".
learning_rate = {_quoted(model.learning_rate)}
# Of sgd alone: passes through the training rows; give this or max_iter. Default: {model.epochs}.
epochs = {model.epochs}

[preparation]
# A column's mean is subtracted and it is divided by its deviation, both of the training rows. Default: true.
standardise = {str(preparation.standardise).lower()}
# Standardised values are clipped to plus and minus 2 to this power, in deviations. Default: {preparation.clip_bits}.
clip_bits = {preparation.clip_bits}

[split]
# Fraction of the rows kept out of training for evaluation, a decimal in quotes. Default: "{split.held_out}".
held_out = {_quoted(split.held_out)}

[evaluation]
# What all are told of the model on held-out rows, 20 at least; [] is nothing. Default: {figures}.
figures = {figures}

[disclosures]
# Disclosures of the mean training loss; newton tells its last alone, 0 is none. Default: {disclosures.loss_reports}.
loss_reports = {disclosures.loss_reports}

[retention]
# Days for which each party keeps its share of the model, for predictions; 0: not at all, and so by rows, where every
# party is told the whole model. Default: {retention.model_days}.
model_days = {retention.model_days}
"""

"""A first plan from the files that it is about: every key with its meaning and default, every column accounted for.

It reads the analyst's own copies and tells about them freely; nothing here runs at a node.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mpc.evaluation_program import FIGURES, Told
from parties.agreement.match_plan import MatchingPlan
from parties.agreement.plan import (
    DisclosurePlan,
    EvaluationPlan,
    ModelPlan,
    Partition,
    Plan,
    RetentionPlan,
    SplitPlan,
    parse_plan,
)
from parties.agreement.plan_text import quoted, quoted_list
from parties.columns.recipe import PreparationPlan
from parties.columns.recipe_planning import merged, recipe_for, recipes_text, shared_recipe
from parties.data.joining import common_records
from parties.data.tables import CLASSES, Table, classes, labels
from parties.errors import DataError, PlanError
from parties.sources import read_table

OBVIOUS_POSITIVES = {("0", "1"): 1, ("no", "yes"): 1, ("false", "true"): 1}  # of two sorted classes, which


def propose_plan(
    files: Mapping[str, Path],
    id_column: str,
    label: str,
    positive: str | None = None,
    partition: Partition = "columns",
    figures: Sequence[Told] = FIGURES,
    matching: MatchingPlan | None = None,
) -> str:
    """The text of a plan that trains on all columns that can be trained on.

    `label` is "party:column", or "column" where the table is divided by rows; in blocks the party may be any of those
    whose files have the same columns. `positive` is the class of two that counts as 1, if it is not obvious; of more
    than two each has its model. `figures` are of the held-out rows. After a matching it is about what that leaves.
    Raises: DataError for a file that can't be used; PlanError for a label that names no party's column, whose
    positive class is not obvious, for a party that would bring nothing, for files that differ by rows or make no
    blocks, or that are not those of the matching.
    """
    owner, column = (None, label) if partition == "rows" else _split_label(label, files)
    tables = {party: replace(read_table(path, id_column), name=party) for party, path in files.items()}
    if matching is not None:
        tables = _matched(tables, id_column, matching, partition)
    told_apart = _told_apart(tables[owner or next(iter(tables))], column, positive)
    brought: dict[str, str] = {}
    columns: dict[tuple[str, ...], list[str]] = {}
    holders: list[str] = []
    for side in _sides(tables, partition):
        labelled = owner in {None, *side}
        holders += side if labelled and owner else []
        found = _brought({party: tables[party] for party in side}, column if labelled else None, told_apart)
        columns[tuple(side)] = found[0]
        for party in side:
            data = matching.leaves if matching else party
            brought[party] = _party(tables[party], data, *found, is_owner=party in holders)
    parts = [brought[party] for party in files]
    text = "\n".join(
        [
            _heading(owner, column, partition),
            *parts,
            _label(holders, column, told_apart),
            _settings(figures, recipes_text(merged(tables, columns))),
        ]
    )
    parse_plan(tomllib.loads(text))
    return text


def _matched(
    tables: Mapping[str, Table], id_column: str, matching: MatchingPlan, partition: Partition
) -> dict[str, Table]:
    """What the matching will leave of the tables. Raises: PlanError, DataError."""
    compared = {party.name: party.id_columns or (id_column,) for party in matching.parties}
    if set(tables) != set(compared):
        raise PlanError(
            f"the files are of {', '.join(sorted(tables))}, the matching is of {', '.join(sorted(compared))}",
            action="give the files of the parties that match",
        )
    if partition != "columns":
        raise PlanError(
            "a matching leaves the same records everywhere", action='leave out --partition, or say "columns"'
        )
    return common_records(tables, compared, matching.rules)


def _sides(tables: Mapping[str, Table], partition: Partition) -> list[list[str]]:
    """Parties whose files are of the same columns."""
    if partition == "rows":
        return [list(tables)]
    found: dict[object, list[str]] = {}
    for party, table in tables.items():
        same = frozenset(column.name for column in table.columns) if partition == "blocks" else party
        found.setdefault(same, []).append(party)
    return list(found.values())


def _brought(
    tables: Mapping[str, Table], label: str | None, told_apart: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """What can be trained on of files of the same columns, and why the rest can't."""
    first, *others = tables.values()
    if not others:
        return _usable(first, label, lambda name: recipe_for(first, name))
    _check_alike(tables, label, told_apart)
    return _common(tables, label)


def _split_label(label: str, files: Mapping[str, Path]) -> tuple[str, str]:
    owner, colon, column = label.partition(":")
    if not colon or not column:
        raise PlanError(f"the label '{label}' is not PARTY:COLUMN", action="write it as clinic-b:diagnosis")
    if owner not in files:
        raise PlanError(
            f"the label's party '{owner}' brings no file", action=f"name one of {', '.join(files)}, or add its file"
        )
    return owner, column


def _told_apart(table: Table, column: str, wanted: str | None) -> tuple[str, ...]:
    """Of two classes the positive one, of more all."""
    if wanted is not None:
        labels(table, column, (wanted,))
        return (wanted.strip(),)
    found = classes(table, column)
    return found if len(found) > CLASSES else (_positive(table, column, found),)


def _positive(table: Table, column: str, found: tuple[str, ...]) -> str:
    folded = tuple(name.casefold() for name in found)
    if folded not in OBVIOUS_POSITIVES:
        raise PlanError(
            f"the label '{table.name}:{column}' has the classes {found[0]!r} and {found[1]!r}",
            action="say which one is to be predicted, with --positive",
        )
    return found[OBVIOUS_POSITIVES[folded]]


def _check_alike(tables: Mapping[str, Table], label: str | None, told_apart: tuple[str, ...]) -> None:
    """Raises: PlanError unless all files have the same columns and classes; DataError for a label that is none."""
    (first, one), *others = tables.items()
    wanted = {column.name for column in one.columns}
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
        if label is None:
            continue
        labels(table, label, told_apart)
        if classes(table, label) != classes(one, label):
            raise PlanError(
                f"the label '{label}' has other classes at '{party}' than at '{first}'",
                action="write the same values in both files",
            )


def _common(tables: Mapping[str, Table], label: str | None) -> tuple[list[str], list[str]]:
    """Columns that can be trained on at every party, in the first one's order, and why the others can't."""
    every = list(tables.values())
    return _usable(every[0], label, lambda name: shared_recipe(every, name))


def _usable(table: Table, label: str | None, judge: Callable[[str], object]) -> tuple[list[str], list[str]]:
    """Columns that can be trained on, and for each other one the reason why it can't."""
    usable, reasons = [], []
    for column in table.columns:
        if column.name == label:
            continue
        try:
            judge(column.name)
        except DataError as exc:
            reasons.append(exc.what)
        else:
            usable.append(column.name)
    return usable, reasons


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
purpose = {quoted(f"predict {column} of {owner}" if owner else f"predict {column}")}

# On which legal basis. Name the real one before partners are asked to sign. Default: {quoted(basis)}.
legal_basis = {quoted(basis)}

# Title of the data-protection impact assessment, if there is one. Default: {quoted(assessment)}.
impact_assessment = {quoted(assessment)}

# SHA-256 of that document; or leave it empty and write impact_assessment_file = "its path, seen from this plan", whose
# digest is taken at the proposal. The document itself goes nowhere. Default: "".
impact_assessment_sha256 = ""

# The organisation that deals out correlated randomness; it holds no data of the session. Default: {quoted(dealer)}.
dealer = {quoted(dealer)}

# How long approvals may take, in hours. Default: {hours}.
expires_in_hours = {hours}

# "columns": each party has some columns, of the same records. "rows": each has all of them, of its own records, and
# their labels; records that two parties hold are not noticed, and means and deviations are told. "blocks": parties that
# list the same columns have records of their own, the others have all of these. Default: "columns".
partition = {quoted(partition)}
"""


def _party(table: Table, data: str, usable: list[str], reasons: list[str], *, is_owner: bool = False) -> str:
    if not usable and not is_owner:
        raise PlanError(
            f"no column of '{table.name}' can be trained on: {'; '.join(reasons) or 'it has only ids'}",
            action="mend its file, or leave the party out",
        )
    columns = "".join(f"    {quoted(name)},\n" for name in usable)
    left_out = "".join(f"# Left out: {reason}.\n" for reason in reasons)
    return f"""\
[[parties]]  # {table.rows} rows when this plan was written
# The organisation, as the gateway knows it. No default.
name = {quoted(table.name)}
# Its data set, as `privity data list` shows it there. No default.
data = {quoted(data)}
# Features, in the order of the model; [preparation] says how they become numbers.
# Default: none (for the label's owner only).
columns = [
{columns}]
{left_out}"""


def _label(holders: list[str], column: str, told_apart: tuple[str, ...]) -> str:
    return f"""\
[label]
{_holders(holders)}# The column. No default.
column = {quoted(column)}
{_classes(told_apart)}"""


def _classes(told_apart: tuple[str, ...]) -> str:
    if len(told_apart) == 1:
        return f"""\
# Of two values the one that counts as 1; the other counts as 0. Of more name `classes` instead. No default.
positive = {quoted(told_apart[0])}
"""
    return f"""\
# All values; each has a model that tells it from the rest. Of two values name `positive` instead. No default.
classes = {quoted_list(told_apart)}
"""


def _holders(names: list[str]) -> str:
    if not names:
        return ""
    party = quoted(names[0]) if len(names) == 1 else f"[{', '.join(map(quoted, names))}]"
    return f"""\
# The party that has what is to be predicted; in blocks perhaps a list, of all that have it beside the same columns.
# Left out by rows, where every party has it. No default.
party = {party}
"""


def _settings(figures: Sequence[Told], recipes: str) -> str:
    model, preparation, split, disclosures = ModelPlan(), PreparationPlan(), SplitPlan(), DisclosurePlan()
    evaluation, retention = EvaluationPlan(), RetentionPlan()
    return f"""\
[model]
# Names and meanings are those of scikit-learn's LogisticRegression. Default: "{model.kind}".
kind = {quoted(model.kind)}
# Inverse strength of the L2 penalty, a decimal in quotes; smaller is stronger. Or a list of several, which are trained
# together: with `folds` the best is told, else all are, and no share is kept. Default: "{model.grid[0]}".
C = {quoted(model.grid[0])}
# Folds of the cross-validation that picks C by the mean loss of left-out rows; 0: none. With weight_of_evidence half of
# the training rows weigh, and folds are of the other half. Default: {model.folds}.
folds = {model.folds}
# Whether the model has an intercept, which is not penalised. Default: {str(model.fit_intercept).lower()}.
fit_intercept = {str(model.fit_intercept).lower()}
# "newton", "nesterov", "sgd", or "auto": newton up to 256 columns and 100 iterations. Default: "{model.solver}".
solver = {quoted(model.solver)}
# Iterations, all of which are run; 0 is what the solver needs. Default: {model.max_iter}.
max_iter = {model.max_iter}
# All are told whether the mean gradient's greatest entry ended below this, a decimal in quotes; "0" is not told, "auto"
# is "0.0001" or, if that is more, the least that rounding lets be told; of sgd nothing is told. Default: "{model.tol}".
tol = {quoted(model.tol)}
# Standard deviation of the normal noise that each party adds to each told weight, in standardised units, a decimal in
# quotes such as "0.05": nobody is told the exact optimum, and figures are of the noised model. Default: "{
        model.noise
    }".
noise = {quoted(model.noise)}
# Of sgd alone, which needs it: rows of one step. Default: {model.batch_size}.
batch_size = {model.batch_size}
# Of sgd alone, which needs it: the learning rate, a decimal in quotes such as "0.01". Default: "{model.learning_rate}".
learning_rate = {quoted(model.learning_rate)}
# Of sgd alone: passes through the training rows; give this or max_iter. Default: {model.epochs}.
epochs = {model.epochs}

[preparation]
# A column's mean is subtracted and it is divided by its deviation, both of the training rows. Default: true.
standardise = {str(preparation.standardise).lower()}
# Standardised values are clipped to plus and minus 2 to this power, in deviations. Default: {preparation.clip_bits}.
clip_bits = {preparation.clip_bits}
# Training rows behind what is told of columns, at least: behind each step of a count, of those with weight_of_evidence;
# where several parties have rows of a column, behind a level at the party that names it to these, behind a party's part
# of a joint mean that fills gaps, and from one joint quantile to the next and to either end.
# Default: {preparation.smallest_bin}.
smallest_bin = {preparation.smallest_bin}
# Of these columns: whether all are told how much each says of the label, one number. Default: {
        str(preparation.information_value).lower()
    }.
information_value = {str(preparation.information_value).lower()}

{recipes}
[split]
# Fraction of the rows kept out of training for evaluation, a decimal in quotes. Default: "{split.held_out}".
held_out = {quoted(split.held_out)}

[evaluation]
# What all are told of the model on held-out rows, 20 at least; [] is nothing. "roc" and "calibration" may be added:
# tables of how many rows of each class have scores above thresholds. Default: {json.dumps(evaluation.figures)}.
figures = {json.dumps(figures)}
# Of these tables: counts are told in steps of so many rows at least. Default: {evaluation.smallest_cell}.
smallest_cell = {evaluation.smallest_cell}

[disclosures]
# Disclosures of the mean training loss; 0 is none. Newton tells its last alone, sgd those of the middle and the end.
# Default: {disclosures.loss_reports}.
loss_reports = {disclosures.loss_reports}

[retention]
# Days for which each party keeps its share of the model, for predictions; 0: not at all, and so by rows,
# where every party is told all of it. Default: {retention.model_days}.
model_days = {retention.model_days}
# Days for which each party keeps a sealed recording of what came in, so that its officer can replay its part; it holds
# the others' masked rows (docs/replay.md). 0: not at all. Default: {retention.replay_days}.
replay_days = {retention.replay_days}
"""

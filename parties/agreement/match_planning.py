"""A first plan of a matching, from the files that it is about: every key with its meaning and default.

It reads the analyst's own copies and tells about them freely; nothing here runs at a node.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from parties.agreement.match_plan import MatchingPlan, parse_matching_plan
from parties.agreement.match_rules import IdRule, MatchRules
from parties.agreement.plan import RecordingPlan, explain
from parties.agreement.plan_text import quoted, quoted_list
from parties.data.joining import common_records
from parties.data.tables import Table
from parties.errors import PlanError
from parties.sources import read_table

RESULT = "matched"


def propose_matching(
    files: Mapping[str, Path],
    id_column: str,
    *,
    compared: Mapping[str, Sequence[str]] | None = None,
    rules: MatchRules | None = None,
    result: str = RESULT,
) -> str:
    """The text of a plan that finds the records which all files have.

    `id_column` is the one of every file; `compared` are a party's columns that say which record a row is, if these are
    others. A rule for each of them; by default they are text.
    Raises: DataError for a file that can't be used, or ids that can't be compared; PlanError for a party without a
    file, or if the files have fewer records in common than the rules ask for.
    """
    if strangers := sorted(set(compared or {}) - set(files)):
        raise PlanError(f"'{strangers[0]}' brings no file", action=f"name one of {', '.join(files)}, or add its file")
    tables = {party: replace(read_table(path, id_column), name=party) for party, path in files.items()}
    columns = {party: tuple((compared or {}).get(party, (id_column,))) for party in files}
    agreed = rules or MatchRules(columns=(IdRule(),) * len(next(iter(columns.values()))))
    text = "\n".join(
        [
            _heading(result),
            _retention(),
            _rules(agreed),
            *(_party(table, columns[party]) for party, table in tables.items()),
        ]
    )
    parse_matching_plan(tomllib.loads(text))
    common_records(tables, columns, agreed)
    return text


def rules_of(written: Sequence[str], duplicates: str, minimum: int) -> MatchRules:
    """Rules from words such as "text", "exact", "alphanumeric", "date:%d.%m.%Y" and "phone:DE".

    Raises: PlanError that says what does not fit.
    """
    try:
        columns = tuple(IdRule.model_validate(_rule(each)) for each in written) or (IdRule(),)
        return MatchRules.model_validate({"columns": columns, "duplicates": duplicates, "minimum": minimum})
    except ValidationError as exc:
        raise PlanError(f"rules of matching: {explain(exc)}", action="mend the options") from exc


def _rule(written: str) -> dict[str, object]:
    kind, _, argument = written.partition(":")
    if kind in {"text", "exact", "alphanumeric"} and not argument:
        return {"kind": "text", "fold_case": kind != "exact", "only_alphanumeric": kind == "alphanumeric"}
    if kind == "date":
        return {"kind": "date"} | ({"formats": argument.split("|")} if argument else {})
    if kind == "phone":
        return {"kind": "phone", "region": argument}
    raise PlanError(
        f"'{written}' is no rule for an id column",
        action="say text, exact, alphanumeric, date:FORMAT|FORMAT or phone:REGION",
    )


def _heading(result: str) -> str:
    default = {name: field.default for name, field in MatchingPlan.model_fields.items()}
    return f"""\
# A plan for one matching session: the parties find the records that all of them have. Each keeps its own of these as a
# data set, which training plans can name. Text after # is comment; keys that are left out take their default.

# What is asked for. No default.
kind = "matching"

# Version of this format. Default: {default["version"]}.
version = {default["version"]}

# Why the data are used; all parties sign it. No default.
purpose = "find the records that all parties have, to train on them"

# On which legal basis. Name the real one before partners are asked to sign. Default: {quoted(default["legal_basis"])}.
legal_basis = {quoted(default["legal_basis"])}

# Title of the data-protection impact assessment, if there is one. Default: "".
impact_assessment = ""

# SHA-256 of that document, or impact_assessment_file = "its path, seen from this plan". Default: "".
impact_assessment_sha256 = ""

# A dealer signs each session; of this one it deals out nothing. Default: {quoted(default["dealer"])}.
dealer = {quoted(default["dealer"])}

# How long approvals may take, in hours. Default: {default["expires_in_hours"]}.
expires_in_hours = {default["expires_in_hours"]}

# "records": each party is told which of its own all have. "estimate": everybody is told about how many these are, and
# nothing is kept; then `result` is left out. Default: {quoted(default["reveal"])}.
reveal = {quoted(default["reveal"])}

# What each party's vault calls the data set of common records; no data set there may have that name. No default.
result = {quoted(result)}

# Days for which each party keeps it, at most. Default: {default["keep_days"]}.
keep_days = {default["keep_days"]}
"""


def _retention() -> str:
    default = RecordingPlan()
    return f"""\
[retention]
# Days for which each party keeps a sealed recording of what came in and its secrets, so that its officer can replay its
# part; the secrets undo its layer of all lists' encryption (docs/replay.md). 0: not at all.
# Default: {default.replay_days}.
replay_days = {default.replay_days}
"""


def _rules(rules: MatchRules) -> str:
    default = MatchRules()
    columns = "\n".join(_column(rule) for rule in rules.columns)
    return f"""\
[rules]
# Rows whose ids are the same once written in one form: "refuse", or take the "first" or the "last" of the
# list as it was added. Default: "{default.duplicates}".
duplicates = {quoted(rules.duplicates)}
# Common records; with fewer the session ends, and nobody is told which they are. Default: {default.minimum}.
minimum = {rules.minimum}

# How each id column is written before it is compared, in the order of the parties' id_columns. Default: one, text.

{columns}"""


def _column(rule: IdRule) -> str:
    more = {
        "text": f"""\
# Of text: whether "A1" is "a1". Default: true.
fold_case = {str(rule.fold_case).lower()}
# Of text: whether letters and digits alone count, so that "12-34 A" is "1234A". Default: false.
only_alphanumeric = {str(rule.only_alphanumeric).lower()}
""",
        "date": f"""\
# Of dates: how they may be written; the first that fits. Default: {quoted_list(IdRule().formats)}.
formats = {quoted_list(rule.formats)}
""",
        "phone": f"""\
# Of phone numbers: the country of those without a country code. Default: "", which leaves these out.
region = {quoted(rule.region)}
""",
    }
    return f"""\
[[rules.columns]]
# "text", "date" or "phone". Text is always trimmed and in Unicode's form NFKC. Default: "text".
kind = {quoted(rule.kind)}
{more[rule.kind]}"""


def _party(table: Table, columns: Sequence[str]) -> str:
    return f"""\
[[parties]]  # {table.rows} rows when this plan was written
# The organisation, as the gateway knows it. No default.
name = {quoted(table.name)}
# Its data set, as `privity data list` shows it there. No default.
data = {quoted(table.name)}
# The columns by which its records are compared, each a text. Default: the data set's id.
id_columns = {quoted_list(columns)}
"""

"""A plan as TOML: what `privity session propose` reads, and proposes as the very same plan. Defaults are left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from parties.agreement.kinds import ProposedPlan

ALWAYS = ("kind", "purpose", "legal_basis", "dealer")


def plan_text(plan: ProposedPlan) -> str:
    content = plan.model_dump(mode="json", exclude_defaults=True)
    whole = plan.model_dump(mode="json")
    kept = {name: content.get(name, whole[name]) for name in whole if name in content or name in ALWAYS}
    return "\n".join(_table(kept, ())) + "\n"


def _table(content: Mapping[str, Any], place: tuple[str, ...]) -> Iterator[str]:
    """Values first: what follows a table's heading in TOML belongs to that table."""
    tables = {name: value for name, value in content.items() if _is_table(value)}
    for name, value in content.items():
        if name not in tables and value is not None:
            yield f"{_key(name)} = {_value(value)}"
    for name, value in tables.items():
        inner = (*place, _key(name))
        for each in value if isinstance(value, list) else [value]:
            heading = ".".join(inner)
            yield ""
            yield f"[[{heading}]]" if isinstance(value, list) else f"[{heading}]"
            yield from _table(each, inner)


def _is_table(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _value(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else _quoted(name)


def _quoted(text: str) -> str:
    """JSON's escapes are TOML's, which wants one more character escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

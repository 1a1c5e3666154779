"""What is wrong with a form: each complaint at the field that it is about."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.planning.resolve import NO_CONTRACT
from mpc.errors import PrivityError

M = TypeVar("M", bound=BaseModel)
Errors: TypeAlias = dict[str, list[str]]  # by field; what is of none stands under the empty name
_PLACE: Final = re.compile(r"^([A-Za-z_]+(?:\.[A-Za-z0-9_]+)*): (.*)$", re.DOTALL)


def parse(kind: type[M], content: Mapping[str, Any], field: Callable[[str], str]) -> tuple[M | None, Errors]:
    """What a form's content makes, or what is wrong with it; `field` says where a complaint about a key is read."""
    try:
        return kind.model_validate(content), {}
    except ValidationError as exc:
        errors: Errors = {}
        for item in exc.errors(include_url=False):
            where = ".".join(str(step) for step in item["loc"])
            is_missing = item["type"] == "missing" or item["input"] == ""
            _note(errors, where, "is missing" if is_missing else _spoken(item["msg"]), field)
        return None, errors


def _spoken(message: str) -> str:
    """A complaint as it fits a form, where nothing is written in quotes as in TOML."""
    return message.removeprefix("Value error, ").replace(" in quotes", "")


def errors_of(error: PrivityError, field: Callable[[str], str]) -> Errors:
    """Of what holds by itself, and fits nothing that there is."""
    errors: Errors = {}
    text = error.what.removeprefix(NO_CONTRACT)
    _note(errors, "", f"{text}; {error.action}" if error.action else text, field)
    return errors


def _note(errors: Errors, where: str, what: str, field: Callable[[str], str]) -> None:
    """A complaint of a whole part names its key itself."""
    if found := _PLACE.match(what):
        where, what = f"{where}.{found[1]}" if where else found[1], found[2]
    errors.setdefault(field(where), []).append(what)

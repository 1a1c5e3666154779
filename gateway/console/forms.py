"""Forms of the console's own pages: read, and believed to come from the login that was shown them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from fastapi import Request

from gateway.console.rendering import cookie_of, form_token
from gateway.errors import BadForm, Forbidden

MOST_FIELDS: Final = 40_000  # 16 parties of 10,000 columns would have more; a page of these nobody fills in
TOKEN: Final = "form_token"  # noqa: S105  (a field's name)


@dataclass(frozen=True)
class Form:
    """Fields in the order of the page; a name may stand several times."""

    fields: tuple[tuple[str, str], ...]

    def get(self, name: str, default: str = "") -> str:
        """The field's text without space around it."""
        return next((value.strip() for each, value in self.fields if each == name), default)

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(value for each, value in self.fields if each == name)

    def has(self, name: str) -> bool:
        return any(each == name for each, _ in self.fields)


def parse_form(text: str) -> Form:
    """Raises: BadForm if there are more fields than any page has."""
    try:
        return Form(tuple(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)))
    except ValueError as exc:
        raise BadForm(
            f"a form has at most {MOST_FIELDS} fields", action="write a plan in TOML, for `privity session propose`"
        ) from exc


async def read_form(request: Request) -> Form:
    """What a page of this login sent. Raises: Forbidden for any other form; BadForm."""
    form = parse_form((await request.body()).decode("utf-8", errors="replace"))
    if "authorization" not in request.headers:  # which no other site's page can send
        _check_token(form.all(TOKEN), form_token(cookie_of(request)))
    return form


def _check_token(shown: Sequence[str], wanted: str) -> None:
    """Origin and Sec-Fetch-Site were looked at before, for every request that changes something."""
    if not wanted or len(shown) != 1 or not secrets.compare_digest(shown[0].encode(), wanted.encode()):
        raise Forbidden("this form is not one that your login was shown", action="load the page again")

"""How ids are brought to one form before they are compared: by the same rules at all parties, which they agree on."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from parties.agreement.plan import Frozen
from parties.errors import SettingsError

MAX_COLUMNS = 8


class IdRule(Frozen):
    """One id column. Text is always trimmed and in Unicode's form NFKC."""

    kind: Literal["text", "date", "phone"] = "text"
    fold_case: bool = True  # text: "A1" is "a1"
    only_alphanumeric: bool = False  # text: "12-34 A" is "1234A"
    formats: tuple[Annotated[str, StringConstraints(min_length=2, max_length=32)], ...] = (
        "%Y-%m-%d",
    )  # dates: tried in order
    region: Annotated[str, StringConstraints(pattern=r"^([A-Z]{2})?$")] = ""  # phone: of numbers without +, as "DE"

    @property
    def in_words(self) -> str:
        """For people."""
        if self.kind == "date":
            return f"date ({', '.join(self.formats)})"
        if self.kind == "phone":
            return f"phone number{f' of {self.region}' if self.region else ''}"
        more = [" in either case"] * self.fold_case + [", letters and digits alone"] * self.only_alphanumeric
        return f"text{''.join(more)}"

    def form(self) -> Callable[[str], str]:
        """What brings a value to the one form; it returns "" for a value that has none."""
        if self.kind == "date":
            return self._date
        return _phone(self.region) if self.kind == "phone" else self._text

    def _text(self, value: str) -> str:
        value = unicodedata.normalize("NFKC", value).strip()
        if self.fold_case:
            value = unicodedata.normalize("NFKC", value.casefold())  # folding can leave another form
        return "".join(filter(str.isalnum, value)) if self.only_alphanumeric else value

    def _date(self, value: str) -> str:
        value = unicodedata.normalize("NFKC", value).strip()
        for wanted in self.formats:
            try:
                return datetime.strptime(value, wanted).replace(tzinfo=UTC).date().isoformat()
            except ValueError:
                continue
        return ""


def _phone(region: str) -> Callable[[str], str]:
    """E.164, as Google's rules for every country have it. Raises: SettingsError if their library is not installed."""
    try:
        import phonenumbers
    except ImportError as exc:
        raise SettingsError("phone numbers can't be compared here", action="pip install 'privity[matching]'") from exc

    def form(value: str) -> str:
        try:
            number = phonenumbers.parse(unicodedata.normalize("NFKC", value), region or None)
        except phonenumbers.NumberParseException:
            return ""
        if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
            return ""
        return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))

    return form


class MatchRules(Frozen):
    """All that the parties agree on before they match."""

    columns: Annotated[tuple[IdRule, ...], Field(min_length=1, max_length=MAX_COLUMNS)] = (IdRule(),)
    duplicates: Literal["refuse", "first", "last"] = "refuse"  # of rows whose ids are the same in the one form
    minimum: Annotated[int, Field(ge=1)] = 50  # common records; fewer, and nobody learns which

    @model_validator(mode="after")
    def _known_formats(self) -> MatchRules:
        for rule in self.columns:
            for wanted in rule.formats:
                datetime(2026, 11, 27, tzinfo=UTC).strftime(wanted)
        return self

    @property
    def in_words(self) -> str:
        """How ids are compared, for people."""
        return f"{', '.join(rule.in_words for rule in self.columns)}; duplicates: {self.duplicates}"

    def digest(self) -> bytes:
        """Equal at parties whose rules are."""
        return hashlib.sha256(self.model_dump_json().encode()).digest()

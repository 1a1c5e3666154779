"""How ids are brought to one form before they are compared: by the same rules at all parties, which they agree on."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StringConstraints, model_validator

from parties.errors import DataError, SettingsError
from parties.plan import Frozen

ELEMENT_BYTES = 32
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

    def digest(self) -> bytes:
        """Equal at parties whose rules are."""
        return hashlib.sha256(self.model_dump_json().encode()).digest()


@dataclass(frozen=True, repr=False, eq=False)
class Records:
    """One party's records as keyed elements. Printing shows their number only.

    Shapes: elements (n, 32) bytes, each once; rows (n,): the index of each in the party's table.
    """

    elements: NDArray[np.uint8]
    rows: NDArray[np.int64]

    def __repr__(self) -> str:
        return f"Records({len(self.rows)})"


def keyed_records(columns: Sequence[Sequence[str | None]], rules: MatchRules, key: bytes) -> Records:
    """Each row's element: HMAC-SHA256 of its ids in the one form, under a key of this session alone.

    Rows that lack an id, or whose date or phone number is none, match nothing and are left out.
    Raises: DataError if ids occur twice where that is refused, or if no row is left; SettingsError if there are not as
    many columns as rules.
    """
    if len(columns) != len(rules.columns):
        raise SettingsError(f"{len(columns)} id columns are here, the rules are about {len(rules.columns)}")
    forms = [rule.form() for rule in rules.columns]
    chosen: dict[bytes, int] = {}
    repeated = 0
    for row, values in enumerate(zip(*columns, strict=True)):
        parts = [form(value) if value is not None else "" for form, value in zip(forms, values, strict=True)]
        if not all(parts):
            continue
        element = hmac.digest(key, _joined(parts), "sha256")
        repeated += element in chosen
        if rules.duplicates == "last" or element not in chosen:
            chosen[element] = row
    if repeated and rules.duplicates == "refuse":
        raise DataError(
            f"{repeated} rows have ids that are another row's once written in one form",
            action='keep one row an id, or agree on duplicates = "first" or "last"',
            outward="ids occur twice once written in one form",
        )
    if not chosen:
        raise DataError("no row has ids that can be compared", action="correct the rules of matching, or the ids")
    elements = np.frombuffer(b"".join(chosen), dtype=np.uint8).reshape(-1, ELEMENT_BYTES)
    return Records(elements, np.fromiter(chosen.values(), dtype=np.int64))


def _joined(parts: Sequence[str]) -> bytes:
    """No two lists of parts are joined to the same bytes."""
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "little") + part for part in encoded)

"""What the proposal forms of every kind share: a plan's lines, and the data sets of its parties."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

from gateway.console.forms import Form
from gateway.views import ParticipantView
from parties.agreement.plan import Asked
from parties.service.messages import PublishedData

Data: TypeAlias = Sequence[tuple[str, PublishedData]]  # parties with what they bring, in the form's order

LINES: Final = ("purpose", "legal_basis", "impact_assessment", "impact_assessment_sha256", "dealer", "expires_in_hours")
TO_BE_SAID: Final = frozenset({"purpose", "legal_basis"})  # by whoever fills in the form


def chosen_data(form: Form, people: Sequence[ParticipantView]) -> list[tuple[str, PublishedData]]:
    """The parties' data sets that a form names and that are published; each party once."""
    published = {(one.name, data.table.name): data for one in people for data in one.published}
    found: dict[str, PublishedData] = {}
    for value in form.all("data"):
        party, _, name = value.partition(":")
        if (party, name) in published:
            found.setdefault(party, published[party, name])
    return list(found.items())


def named(data: Data) -> list[tuple[str, str]]:
    """The fields that name these data sets."""
    return [("data", f"{party}:{published.table.name}") for party, published in data]


def first_lines(dealer: str) -> list[tuple[str, str]]:
    """The lines' defaults, with this dealer."""
    example = Asked(purpose="to be said", dealer=dealer)
    return [(name, value) for name, value in lines_of(example) if name not in TO_BE_SAID]


def lines_of(plan: Asked) -> Iterator[tuple[str, str]]:
    """The fields of a plan's lines."""
    return ((name, str(getattr(plan, name))) for name in LINES)


def lines_in(form: Form) -> dict[str, Any]:
    """A plan's lines as the form has them; what is empty is left out, so that defaults hold."""
    return {name: value for name in LINES if (value := form.get(name))}

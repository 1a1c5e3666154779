"""What a participant tells the gateway goes no further than the contract discloses it."""

from __future__ import annotations

import pytest

from gateway.coordination.allowed import allowed_report
from parties.service.messages import Finished
from tests.parties.conftest import draft, draft_matching

TOLD = Finished(session="ab" * 32, seconds=1.0, rounds=1, bytes_sent=1, converged=True, estimate=60)
KEYS = ("11" * 32, "22" * 32, "33" * 32)


@pytest.mark.parametrize(
    ("contract", "estimate", "converged"),
    [
        (draft(*KEYS), None, True),
        (draft_matching(draft(*KEYS)), None, None),
        (draft_matching(draft(*KEYS), estimate=True), 60, None),
    ],
    ids=["a training", "a matching", "an estimate"],
)
def test_an_estimate_shows_where_the_contract_discloses_it(contract, estimate, converged):
    """A count of common records that a party tells in another session is dropped, as is what is another kind's."""
    allowed = allowed_report(TOLD, contract)
    assert (allowed.estimate, allowed.converged) == (estimate, converged)

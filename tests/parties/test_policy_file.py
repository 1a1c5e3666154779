"""Which rules a node signed by stands in its log: at its start, at each change, before a contract is judged by them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from parties.agreement.policy_file import PolicyFile
from parties.audit.snapshot import locate, take
from parties.errors import SettingsError
from parties.service.home import POLICY
from tests.parties.page.conftest import Clinic


@pytest.fixture
def clinic(tmp_path) -> Iterator[Clinic]:
    made = Clinic(tmp_path)
    yield made
    made.stop()


def recorded(clinic) -> list[tuple[str, bool]]:
    found = [entry.event for entry in take(locate(clinic.home.directory)).entries()]
    return [(event.digest, event.valid) for event in found if event.type == "policy:file:read"]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_policy_is_recorded_when_it_changes(clinic):
    """Once for each text, whoever reads it; a text that does not parse, or is gone, is recorded as such."""
    path, policy = clinic.home.path("policy.toml"), clinic.node.policy
    policy.read()
    policy.read()
    assert recorded(clinic) == [(digest(POLICY), True)]
    path.write_text("sessions_a_day = 1\n")
    assert policy.read().sessions_a_day == 1
    path.write_text("sessions_a_day = many\n")
    with pytest.raises(SettingsError, match="is not TOML"):
        policy.read()
    path.unlink()
    for _ in range(2):
        with pytest.raises(SettingsError, match="there is no policy"):
            policy.read()
    path.write_text(POLICY)
    policy.read()
    assert recorded(clinic)[1:] == [
        (digest("sessions_a_day = 1\n"), True),
        (digest("sessions_a_day = many\n"), False),
        (digest(""), False),
        (digest(POLICY), True),
    ]
    assert PolicyFile(path, clinic.node.journal).read() == policy.read()  # as at the next start
    assert recorded(clinic)[-2:] == [(digest(POLICY), True)] * 2


def test_a_contract_is_judged_by_what_was_recorded(clinic):
    """The log has the changed policy before the refusal that follows from it."""
    path = clinic.home.path("policy.toml")
    clinic.proposed()
    path.write_text(POLICY.replace("purposes = []", 'purposes = ["nothing"]'))
    contract = clinic.contract()
    clinic.do(clinic.node.receive(contract.canonical()))
    assert clinic.node.store.get(contract.digest).fault.code == "policy.purposes"
    types = [entry.event.type for entry in take(locate(clinic.home.directory)).entries()]
    *_, last_read = (number for number, type_ in enumerate(types) if type_ == "policy:file:read")
    assert last_read < types.index("session:contract:refused")
    assert len(recorded(clinic)) == 2


@pytest.mark.parametrize(("allowed", "state"), [(True, "proposed"), (False, "refused")])
def test_an_estimate_needs_a_policy_that_allows_what_it_tells(clinic, allowed, state):
    """A node that does not allow estimates refuses one before any of its data is read; a matching it still takes."""
    rest = 'disclosures = ["membership", "matches", "matched", "sample-matches"{}]\n'
    clinic.home.path("policy.toml").write_text(rest.format(', "estimate"' if allowed else ""))
    asked = clinic.matching(estimate=True)
    assert clinic.state(asked.digest) == state
    assert clinic.state(clinic.matching().digest) == "proposed"
    fault = clinic.node.store.get(asked.digest).fault
    assert (fault and fault.code) == (None if allowed else "policy.disclosures")
    assert "estimate" in (fault.what if fault else "estimate")
    assert not [one for one in take(locate(clinic.home.directory)).entries() if one.event.type == "vault:data:read"]

"""A data set that a contract is about stays where it is while that contract is signed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from parties.data.vault import Vault
from parties.errors import PrivityError, VaultError
from tests.parties.page.conftest import DEADLINE_S, Clinic


class SlowVault(Vault):
    """Whose data take as long to be looked at as somebody says."""

    def __init__(self, *facts) -> None:
        super().__init__(*facts)
        self.opened, self.may_go_on = threading.Event(), threading.Event()

    def open(self, *facts):
        self.opened.set()
        assert self.may_go_on.wait(DEADLINE_S)
        return super().open(*facts)


@pytest.fixture
def clinic(tmp_path) -> Iterator[Clinic]:
    made = Clinic(tmp_path)
    made.node.vault = SlowVault(made.home.path("vault"), made.home.master_key())
    yield made
    made.node.vault.may_go_on.set()
    made.stop()


def test_what_is_being_signed_is_not_deleted(clinic):
    """From the look at the data to the approval and beyond it a deletion is refused; it was possible before."""
    node = clinic.node
    session = clinic.proposed()
    signing = asyncio.run_coroutine_threadsafe(node.sign(session, by="operator"), clinic._loop)
    assert node.vault.opened.wait(DEADLINE_S)
    with pytest.raises(VaultError, match=f"data set cohort is used by session {session[:12]}"):
        node.desk.data_delete("cohort")
    assert node.desk.is_used("cohort")
    node.vault.may_go_on.set()
    signing.result(DEADLINE_S)
    assert clinic.state(session) == "approved"
    with pytest.raises(VaultError, match="is used by session"):
        node.desk.data_delete("cohort")
    assert node.vault.list() == ("cohort",)


def test_a_refusal_gives_it_free(clinic):
    """What was not signed in the end holds nothing back."""
    session = clinic.proposed()
    clinic.node.desk.data_share("cohort", shareable=False)
    with pytest.raises(VaultError):
        clinic.do(clinic.node.sign(session, by="operator"))
    assert clinic.state(session) == "refused"
    clinic.node.desk.data_delete("cohort")
    assert clinic.node.vault.list() == ()


def test_what_was_deleted_is_not_signed(clinic):
    """A deletion that came first: the contract is refused to everybody."""
    session = clinic.proposed()
    clinic.node.desk.data_delete("cohort")
    with pytest.raises(PrivityError):
        clinic.do(clinic.node.sign(session, by="operator"))
    assert clinic.state(session) == "refused"

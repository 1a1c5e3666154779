"""What an operator does to a home's files is done once, recorded, and recorded only if it was done."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from parties.audit import events
from parties.audit.verify import verify
from parties.columns.preparation import OriginalUnits
from parties.data.data_set import Manifest, Origin
from parties.data.intake import take_in
from parties.data.tables import Table
from parties.errors import DataError, LifecycleError, PartnerError, VaultError
from parties.keys.identity import Identity, write_private
from parties.keys.partners import Partners
from parties.keys.tls import utc_now
from parties.process.job import Outcome, OwnModel
from parties.service.desk import Desk, result_of, vault_of
from parties.service.home import Home
from parties.service.lifecycle import Step
from parties.service.store import SessionStore
from parties.sources import file_source
from parties.testimony.transcripts import Transcripts
from tests.parties.conftest import draft, draft_matching

CSV = "patient,age\np1,30\np2,41\np3,52\n"
OUTCOME = Outcome(
    columns=("age",),
    models=(
        OwnModel(
            C="1.0",
            positive="yes",
            standardised=(0.5,),
            original=OriginalUnits(names=("age",), coefficients=(0.05,), offset=-2.0),
            intercept=None,
            losses=(),
        ),
    ),
)


@pytest.fixture
def desk(home, journal) -> Desk:
    return Desk(home, journal, None, Partners(home.path("partners.json")))


def recorded(home: Home) -> list[str]:
    """Types of what the log holds, after its own beginning; the log verifies."""
    verdict = verify(home.path("audit.sqlite"), None)
    assert verdict.ok
    from parties.audit.snapshot import locate, take

    return [entry.envelope()["type"] for entry in take(locate(home.path("audit.sqlite"))).entries()][1:]


def add(desk: Desk, path: str) -> Manifest:
    """What `privity data add` does with a file."""
    source = file_source(Path(path))
    manifest, _ = take_in(desk.open_vault(), "cohort", source, "patient", created=utc_now(), record=desk.data_added)
    return manifest


def csv(directory: Path, text: str = CSV) -> str:
    (directory / "a.csv").write_text(text)
    return str(directory / "a.csv")


def test_data_come_and_go_with_a_record_each(home, desk, tmp_path):
    """A table goes into the vault and out of it; the log has one entry for each."""
    manifest = add(desk, csv(tmp_path))
    assert (manifest.name, manifest.table.rows) == ("cohort", 3)
    assert vault_of(home).list() == ("cohort",)
    desk.data_delete("cohort")
    assert vault_of(home).list() == ()
    assert recorded(home) == [events.DataAdded.type, events.DataRemoved.type]


def test_what_failed_is_not_recorded(home, desk, tmp_path):
    """A bad file, a taken name, a data set that is not there: an error, and no entry that says otherwise."""
    for text in ("", "patient,age\np1,1\np1,2\n"):
        with pytest.raises(DataError):
            add(desk, csv(tmp_path, text))
    for name in ("cohort", "../cohort", "No Name"):
        with pytest.raises(VaultError):
            desk.data_delete(name)
    with pytest.raises(PartnerError):
        desk.partner_remove("clinic-b")
    with pytest.raises(PartnerError):
        desk.partner_add("clinic-b", "no fingerprint")
    assert recorded(home) == []
    add(desk, csv(tmp_path))
    with pytest.raises(VaultError, match="already"):
        add(desk, csv(tmp_path))
    assert recorded(home) == [events.DataAdded.type]


def test_a_damaged_data_set_can_be_removed(home, desk, tmp_path):
    """What can't be read any more can still be destroyed, and the record says so without its version."""
    add(desk, csv(tmp_path))
    (manifest,) = home.path("vault").glob("*.manifest")
    manifest.write_bytes(b"damaged")
    desk.data_delete("cohort")
    assert vault_of(home).list() == ()
    assert recorded(home) == [events.DataAdded.type, events.DataRemoved.type]


def test_partners_come_and_go_with_a_record_each(home, desk):
    """A confirmation and its withdrawal are entries with the fingerprint."""
    fingerprint = Identity.generate().fingerprint
    desk.partner_add("clinic-b", fingerprint.upper())
    assert Partners(home.path("partners.json")).all() == {"clinic-b": fingerprint}
    desk.partner_remove("clinic-b")
    assert recorded(home) == [events.PartnerAdded.type, events.PartnerRemoved.type]


def test_a_result_is_found_by_its_session(home):
    """As much of the session's id as tells it apart finds the result; nothing else does."""
    for digest in ("ab" * 32, "ac" * 32):
        write_private(home.path("results") / f"{digest}.json", OUTCOME.model_dump_json().encode())
    assert result_of(home, "ab") == OUTCOME
    for wrong in ("a", "", "ff", "*", "../settings", "/etc", "["):
        with pytest.raises(LifecycleError, match="results begin with"):
            result_of(home, wrong)


def test_a_damaged_result_is_said_so(home):
    """A file that is no result any more is an error that shows nothing of it."""
    write_private(home.path("results") / f"{'ab' * 32}.json", b'{"columns": ["age"], "standardised": [0.777')
    with pytest.raises(DataError, match="is damaged; restore it") as caught:
        result_of(home, "ab")
    assert "0.777" not in str(caught.value)


def test_a_data_set_in_use_is_not_deleted(home, desk, tmp_path):
    """While a session that was agreed to uses it, a data set stays; before and after it can go."""
    version = add(desk, csv(tmp_path)).version
    contract = draft(home.identity.public.hex(), "22" * 32, "33" * 32)
    own = contract.parties[0].model_copy(update={"data": "cohort", "data_version": version})
    contract = contract.model_copy(update={"parties": (own, *contract.parties[1:])})
    store = SessionStore(home.path("state.sqlite"))
    store.receive(contract.digest, contract.canonical().decode())
    for step in (Step.APPROVE, Step.START):
        store.step(contract.digest, step)
        with pytest.raises(VaultError, match=f"data set cohort is used by session {contract.digest[:12]}"):
            desk.data_delete("cohort")
    assert vault_of(home).list() == ("cohort",)
    store.step(contract.digest, Step.COMPLETE)
    desk.data_delete("cohort")
    assert vault_of(home).list() == ()
    assert recorded(home) == [events.DataAdded.type, events.DataRemoved.type]


def test_a_matched_set_is_shared_once_all_have_signed(home, desk, journal, consortium, contract):
    """A partner whose node failed at the end has no such data set: what is here is a list of persons, for no use."""
    own = Identity.generate()
    parties = tuple(
        party.model_copy(
            update={"public_key": (own if party.name == "clinic-a" else consortium.identities[party.name]).public.hex()}
        )
        for party in draft_matching(contract).parties
    )
    matching = draft_matching(contract, parties=parties)
    store = SessionStore(home.path("state.sqlite"))
    store.receive(matching.digest, matching.canonical().decode())
    origin = Origin(
        session=matching.digest,
        source="patients",
        source_version="ab" * 32,
        id_column="patient",
        partners=("clinic-b",),
        until=utc_now(),
    )
    table = Table("both", "matched_id", pa.table({"matched_id": ["a", "b"], "patient": ["x", "y"]}))
    vault_of(home).add("both", table, created=utc_now(), origin=origin)
    for identity, name in ((own, "clinic-a"), (consortium.identities["clinic-b"], "clinic-b")):
        with pytest.raises(VaultError, match="did not sign yet") as refused:
            desk.data_share("both", shareable=True)
        assert "clinic-b" in refused.value.what
        assert refused.value.code == "vault.unconfirmed"
        (said,) = Transcripts(name, identity, store, journal).conclude(matching, 1, "5a" * 32, 9, 90)
        assert said.session == matching.digest
    desk.data_share("both", shareable=True)
    assert vault_of(home).manifest("both").shareable


def test_sharing_is_recorded(home, desk, tmp_path):
    """What may be published from here on, and what no longer, stands in the log."""
    add(desk, csv(tmp_path))
    desk.data_share("cohort", shareable=True)
    assert vault_of(home).manifest("cohort").shareable
    desk.data_share("cohort", shareable=False)
    assert not vault_of(home).manifest("cohort").shareable
    with pytest.raises(VaultError, match="there is no data set other"):
        desk.data_share("other", shareable=True)
    assert recorded(home) == [events.DataAdded.type, events.DataShared.type, events.DataShared.type]

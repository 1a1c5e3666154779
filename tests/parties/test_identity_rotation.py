"""A key hands over to the next; what the old one signed stays verifiable, and operators accept the new one."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from parties.audit.bundle import HANDOVERS, MANIFEST, pack, read
from parties.audit.events import (
    ContractReceived,
    IdentityCreated,
    IdentityRotated,
    LoginOffered,
    PartnerKeyOffered,
    PartnerMismatched,
)
from parties.audit.export import export
from parties.audit.heads import Cosigner, KnownHead
from parties.audit.log import AuditLog
from parties.audit.notes import cosign, parse_note
from parties.audit.proof import prove
from parties.audit.snapshot import take
from parties.audit.verify import verify
from parties.errors import AuditError, ForeignLog, PartnerError, SettingsError
from parties.keys.handover import Handovers, SignedHandover, hand_over, keys_of, successor_of
from parties.keys.identity import Identity, fingerprint
from parties.keys.identity_rotation import NEXT_FILE, rotate_identity
from parties.keys.partners import Partners
from parties.keys.succession import Succession
from parties.keys.tls import Invitation
from parties.service.home import Home, init
from parties.service.messages import HandedOver

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
EVENT = LoginOffered(role="officer")
SESSION = "ab" * 32


def chain_of(name, *identities):
    return [hand_over(name, old, new, NOW) for old, new in pairwise(identities)]


def test_a_chain_leads_from_each_key_to_the_newest():
    """Whoever confirmed any of the keys is led to the last one; the last one itself leads nowhere."""
    first, second, third = (Identity.generate() for _ in range(3))
    chain = chain_of("clinic-a", first, second, third)
    assert keys_of("clinic-a", chain) == [first.public, second.public, third.public]
    assert keys_of("clinic-a", []) == []
    for identity in (first, second):
        assert successor_of("clinic-a", identity.fingerprint, chain) == third.public
    assert successor_of("clinic-a", third.fingerprint, chain) is None
    assert successor_of("clinic-a", Identity.generate().fingerprint, chain) is None


def test_a_broken_chain_is_refused():
    """Another's hand-over, one out of order, a circle, too many, and what only one of the keys signed."""
    first, second, third, other = (Identity.generate() for _ in range(4))
    chain = chain_of("clinic-a", first, second, third)
    for broken in (
        chain_of("clinic-b", first, second),
        chain[::-1],
        [chain[0], *chain_of("clinic-a", other, third)],
        [*chain, *chain_of("clinic-a", third, first)],
    ):
        with pytest.raises(PartnerError, match="not one chain of its keys"):
            keys_of("clinic-a", broken)
    with pytest.raises(PartnerError, match="32 is the limit"):
        keys_of("clinic-a", chain[:1] * 33)
    forged = hand_over("clinic-a", other, third, NOW)
    for link in (
        SignedHandover(by_old=chain[0].by_old, by_new=forged.by_new),
        SignedHandover(by_old={**chain[0].by_old, "payload": forged.by_old["payload"]}, by_new=chain[0].by_new),
        SignedHandover(by_old=chain[0].by_old, by_new=chain[0].by_old),
        SignedHandover(by_old={}, by_new={}),
        hand_over("clinic-a", first, first, NOW),
    ):
        with pytest.raises(PartnerError, match="hand-over of a key"):
            link.read()


# the log


@pytest.fixture
def rotated(tmp_path):
    """A log that two keys signed in turn, a head of the first one's, and both keys."""
    old, new = Identity.generate(), Identity.generate()
    path = tmp_path / "audit.sqlite"
    with AuditLog.open(path, old, "clinic-a") as log:
        log.append(ContractReceived(session=SESSION, parties=2))
        head = log.head()
        log.rotate(new)
        log.append(EVENT)
    return path, head, old, new


def test_a_log_goes_on_under_the_new_key(rotated):
    """It verifies under either fingerprint, says that the old one handed over, and opens for the new one alone."""
    path, _, old, new = rotated
    verdict = verify(path, new.fingerprint)
    assert (verdict.ok, verdict.fingerprint, verdict.layout_checked) == (True, new.fingerprint, True)
    assert not any("handed it over" in remark for remark in verdict.remarks)
    former = verify(path, old.fingerprint)
    assert former.ok
    assert any(f"the key {old.fingerprint} handed it over to {new.fingerprint}" in one for one in former.remarks)
    assert verify(path, Identity.generate().fingerprint).failure.fault == "key"
    AuditLog.open(path, new, "clinic-a").close()
    with pytest.raises(ForeignLog):
        AuditLog.open(path, old, "clinic-a")


def test_heads_of_the_old_key_still_count(rotated, tmp_path):
    """A head that the old key signed, and a partner cosigned, is one of this log."""
    path, head, _, _ = rotated
    kept = tmp_path / "kept.head"
    kept.write_text(head, encoding="utf-8")
    assert verify(path, None, kept).head_checked
    partner = Identity.generate()
    note = parse_note(head)
    cosigned = note.with_signatures(cosign(note.text, "clinic-b", partner, NOW)).render()
    known = KnownHead.parse(cosigned, Cosigner("clinic-b", partner.public))
    _, _, old, new = rotated
    chain = chain_of("clinic-a", old, new)
    out = tmp_path / "whole.bundle"
    out.write_bytes(export(path, new, "", {}, [known], chain))
    verdict = verify(out, old.fingerprint)
    assert (verdict.ok, len(verdict.cosigned)) == (True, 1)
    assert f"handed the log over to {new.fingerprint}" in verdict.remarks[0]
    files = dict(read(out).files)
    del files[HANDOVERS]
    files[MANIFEST] = read(out).files[MANIFEST]
    out.write_bytes(pack(files))
    assert verify(out).failure.fault == "bundle"
    out.write_bytes(export(path, new, "", {}, [known]))
    assert verify(out).failure.fault == "head"  # the head that was cosigned is of a key that nothing leads from
    out.write_bytes(export(path, new, "", {}, (), chain_of("clinic-a", new, old)))
    assert "do not lead to the key that signs it" in verify(out).failure.what


def test_proofs_are_by_the_new_key(rotated, tmp_path):
    """An entry from before the hand-over is proven by the newest head, which the new key signed."""
    path, _, _, new = rotated
    made = prove(path, 1)
    assert made.public_key == new.public
    out = tmp_path / "1.tlog-proof"
    out.write_text(made.render(), encoding="utf-8")
    assert verify(out, new.fingerprint).ok


def test_a_hand_over_of_another_key_is_found(tmp_path):
    """An entry that names another predecessor, or is not the last under its head, does not hand the log over."""
    old, new, other = (Identity.generate() for _ in range(3))
    good = IdentityRotated(fingerprint=new.fingerprint, public_key=new.public.hex(), predecessor=old.public.hex())
    bad = {
        "from another key": [good.model_copy(update={"predecessor": other.public.hex()})],
        "not the last": [good, EVENT],
        "hands the log over": [good.model_copy(update={"fingerprint": other.fingerprint})],
        "signed by the log's key": [good],
    }
    for number, (what, events) in enumerate(bad.items()):
        path = tmp_path / f"{number}.sqlite"
        with AuditLog.open(path, old, "clinic-a") as log:
            log.append_all(events)
            log.append(EVENT)  # by the old key, which has nothing to sign any more
        failure = verify(path).failure
        assert failure is not None, what
        assert what in failure.what


# a home


@pytest.fixture
def home(tmp_path):
    token = Invitation.create("clinic-a", "127.0.0.1:9", "ab" * 32).token()
    made = init(tmp_path / "home", "party", token, "127.0.0.1:0", datetime.now(UTC))
    with AuditLog.open(made.path("audit.sqlite"), made.identity, "clinic-a") as log:
        log.append(IdentityCreated(fingerprint=made.identity.fingerprint))
    return made


def test_a_home_gets_a_new_key(home):
    """The new key is in use, the old one's hand-over is kept, the log goes on; and so a second time."""
    first = home.identity
    second = rotate_identity(home, NOW)
    assert home.identity.fingerprint == second
    third = rotate_identity(home, NOW)
    assert [fingerprint(key) for key in keys_of("clinic-a", home.handovers.chain())] == [
        first.fingerprint,
        second,
        third,
    ]
    verdict = verify(home.directory, third)
    assert (verdict.ok, verdict.fingerprint) == (True, third)
    assert not home.path(NEXT_FILE).exists()
    assert home.path("identity.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("step", ["key", "hand-over", "log"])
def test_a_rotation_that_was_broken_off_is_finished(home, tmp_path, step):
    """After whichever step it broke off, nothing is signed by a key that handed over, and another call finishes it."""
    before, place = home.identity, tmp_path / "before"
    shutil.copytree(home.directory, place)
    after = rotate_identity(home, NOW)
    broken = Home(tmp_path / "broken")
    shutil.copytree(place, broken.directory)
    shutil.copy(home.path("identity.pem"), broken.path(NEXT_FILE))
    if step != "key":
        shutil.copy(home.path("handovers.json"), broken.path("handovers.json"))
    if step == "log":
        shutil.copy(home.path("audit.sqlite"), broken.path("audit.sqlite"))
        with pytest.raises(AuditError):
            AuditLog.open(broken.path("audit.sqlite"), before, "clinic-a")
    assert rotate_identity(broken, NOW) == after
    assert keys_of("clinic-a", broken.handovers.chain())[0] == before.public
    assert len(broken.handovers.chain()) == 1
    assert verify(broken.directory, after).ok
    kinds = [type(entry.event) for entry in take(broken.path("audit.sqlite")).entries()]
    assert kinds.count(IdentityRotated) == 1


def test_a_log_that_ends_in_its_hand_over_opens_for_the_new_key_alone(home):
    """Killed between the hand-over's head and the next: the old key is told so, the new one goes on."""
    old, new = home.identity, Identity.generate()
    path = home.path("audit.sqlite")
    rotated = IdentityRotated(fingerprint=new.fingerprint, public_key=new.public.hex(), predecessor=old.public.hex())
    with AuditLog.open(path, old, "clinic-a") as log:
        log.append(rotated)
    with pytest.raises(AuditError, match=r"was handed over to the key .*privity key rotate"):
        AuditLog.open(path, old, "clinic-a")
    with AuditLog.open(path, new, "clinic-a") as log:
        log.append(EVENT)
    assert verify(path, new.fingerprint).ok


def test_a_chain_has_an_end(home):
    """No more hand-overs are made than partners take."""
    handovers = Handovers(home.path("handovers.json"))
    (link,) = chain_of("clinic-a", Identity.generate(), Identity.generate())
    for _ in range(32):
        handovers.add(link)
    with pytest.raises(SettingsError, match="rotated 32 times"):
        handovers.add(link)


def test_no_key_is_rotated_under_a_running_daemon(home):
    """The log has one writer: while it is open nothing is handed over."""
    before = home.identity.fingerprint
    with (
        AuditLog.open(home.path("audit.sqlite"), home.identity, "clinic-a"),
        pytest.raises(AuditError, match="open in another process"),
    ):
        rotate_identity(home, NOW)
    assert home.identity.fingerprint == before


# partners


class Party:
    """A participant that hears of others' keys."""

    def __init__(self, place, name):
        place.mkdir()
        self.partners = Partners(place / "partners.json")
        self.journal = AuditLog.open(place / "audit.sqlite", Identity.generate(), name)
        self.succession = Succession(name, Handovers(place / "handovers.json"), self.partners, self.journal)

    def events(self, kind):
        return [e.event for e in take(self.journal.path).entries() if isinstance(e.event, kind)]


@pytest.fixture
def party(tmp_path):
    made = Party(tmp_path / "b", "clinic-b")
    yield made
    made.journal.close()


def told(name, *identities):
    chain = tuple(chain_of(name, *identities))
    return HandedOver(peer=name, public_key=identities[-1].public.hex(), handovers=chain)


def test_a_new_key_is_offered_and_accepted_with_one_command(party):
    """What the confirmed key handed over to is refused with the way to accept it, until the operator does."""
    old, new = Identity.generate(), Identity.generate()
    party.partners.add("clinic-a", old.fingerprint)
    for _ in range(2):  # each time that the partner connects
        party.succession.hear(told("clinic-a", old, new))
    offered = PartnerKeyOffered(name="clinic-a", confirmed=old.fingerprint, successor=new.fingerprint)
    assert party.events(PartnerKeyOffered) == [offered]
    party.partners.check_key("clinic-a", old.fingerprint)
    with pytest.raises(PartnerError, match="privity partner accept clinic-a"):
        party.partners.check_key("clinic-a", new.fingerprint)
    assert party.partners.accept("clinic-a") == (old.fingerprint, new.fingerprint)
    party.partners.check_key("clinic-a", new.fingerprint)
    with pytest.raises(PartnerError, match="not the one confirmed"):
        party.partners.check_key("clinic-a", old.fingerprint)
    assert party.partners.is_same("clinic-a", old.fingerprint, new.fingerprint)
    assert not party.partners.is_same("clinic-a", Identity.generate().fingerprint, new.fingerprint)
    with pytest.raises(PartnerError, match="handed over to no other key"):
        party.partners.accept("clinic-a")
    party.succession.hear(told("clinic-a", old, new))  # which is known
    assert party.partners.keys().offered == {}


def test_a_gateway_s_key_is_not_offered(party):
    """A chain that does not begin at the confirmed key, or ends at another than the one that came, offers nothing."""
    old, new, swapped = (Identity.generate() for _ in range(3))
    with pytest.raises(PartnerError, match="do not begin at the key confirmed"):
        party.succession.hear(told("clinic-a", old, new))
    party.partners.add("clinic-a", old.fingerprint)
    for message in (
        told("clinic-a", swapped, new),
        told("clinic-a", old, new).model_copy(update={"public_key": swapped.public.hex()}),
        HandedOver(peer="clinic-a", public_key=new.public.hex(), handovers=()),
    ):
        with pytest.raises(PartnerError, match="do not begin at the key confirmed"):
            party.succession.hear(message)
    assert party.partners.keys().offered == {}
    assert party.events(PartnerMismatched) == []


def test_a_revoked_key_is_never_taken_again(party):
    """Neither it nor what it hands over to is confirmed, offered or accepted; another key is."""
    old, new, fresh = (Identity.generate() for _ in range(3))
    party.partners.add("clinic-a", old.fingerprint)
    party.succession.hear(told("clinic-a", old, new))
    assert party.partners.revoke("clinic-a") == old.fingerprint
    assert party.partners.all() == {}
    with pytest.raises(PartnerError, match="was revoked here"):
        party.partners.add("clinic-a", old.fingerprint)
    with pytest.raises(PartnerError, match="was revoked here"):
        party.partners.check_key("clinic-a", old.fingerprint)
    with pytest.raises(PartnerError, match="there is no partner"):
        party.partners.accept("clinic-a")
    with pytest.raises(PartnerError, match="do not begin at the key confirmed"):
        party.succession.hear(told("clinic-a", old, new))
    party.partners.add("clinic-a", fresh.fingerprint)
    party.partners.check_key("clinic-a", fresh.fingerprint)
    with pytest.raises(PartnerError, match="was revoked here"):
        party.succession.hear(told("clinic-a", fresh, old))


def test_a_key_revoked_halfway_is_refused(party):
    """Broken off after the first of its two files, a revocation holds."""
    old = Identity.generate()
    party.partners.add("clinic-a", old.fingerprint)
    confirmed = (party.journal.path.parent / "partners.json").read_bytes()
    party.partners.revoke("clinic-a")
    (party.journal.path.parent / "partners.json").write_bytes(confirmed)
    with pytest.raises(PartnerError, match="was revoked here"):
        party.partners.check_key("clinic-a", old.fingerprint)


def test_damaged_files_are_named(party, tmp_path):
    """Neither file is guessed at."""
    (tmp_path / "b" / "partner-keys.json").write_text('{"revoked": 1}')
    with pytest.raises(SettingsError, match=r"partner-keys\.json is damaged"):
        party.partners.keys()
    (tmp_path / "b" / "handovers.json").write_text("{}x")
    with pytest.raises(SettingsError, match=r"handovers\.json is damaged"):
        Handovers(tmp_path / "b" / "handovers.json").chain()


def test_a_first_key_announces_nothing(party, home):
    """Without a hand-over there is nothing to tell; with one each partner is told."""
    assert party.succession.announcements() == []
    rotate_identity(home, NOW)
    partners = Partners(home.path("partners.json"))
    partners.add("clinic-b", Identity.generate().fingerprint)
    partners.add("dealer", Identity.generate().fingerprint)
    with AuditLog.open(home.path("audit.sqlite"), home.identity, "clinic-a") as journal:
        succession = Succession("clinic-a", home.handovers, partners, journal)
    said = succession.announcements()
    assert [message.peer for message in said] == ["clinic-b", "dealer"]
    assert said[0].public_key == home.identity.public.hex()
    assert json.loads(said[0].model_dump_json())["type"] == "handed-over"

"""Heads are cosigned by partners through a gateway that can drop what it carries, and forge nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
from base64 import b64decode
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import rfc8785
from typer.testing import CliRunner

from parties.audit.cli import app
from parties.audit.events import HeadCosigned, HeadRefused, LoginOffered, PartnerMismatched
from parties.audit.log import AuditLog
from parties.audit.notes import cosign, parse_checkpoint, parse_note
from parties.audit.snapshot import take
from parties.audit.verify import verify
from parties.audit.witnesses import cosigned_of, witnessed_of
from parties.errors import HeadError, PartnerError
from parties.keys.identity import Identity
from parties.keys.partners import Partners
from parties.service.messages import (
    HEAD_OFFER_TYPE,
    HEAD_REFUSAL_TYPE,
    Cosigned,
    Declined,
    HeadOffer,
    HeadRefusal,
    Offer,
    decode_from_daemon,
    encode,
)
from parties.testimony.witness import Witness
from parties.testimony.witness_store import Heads, Witnessed

NAMES = ("clinic-a", "clinic-b", "clinic-c")
EVENT = LoginOffered(role="officer")


class Clock:
    """Time that goes on by a second at each look."""

    def __init__(self):
        self.now = datetime(2026, 11, 27, 12, tzinfo=UTC)

    def __call__(self):
        self.now += timedelta(seconds=1)
        return self.now


class Side:
    """One participant's home, as far as cosigning goes; `restart` is its daemon started anew."""

    def __init__(self, home, name, identities, clock):
        self.home, self.name, self.identity, self._clock = home / name, name, identities[name], clock
        self.former = []
        self.home.mkdir()
        self.partners = Partners(self.home / "partners.json")
        for other in identities:
            if other != name:
                self.partners.add(other, identities[other].fingerprint)
        self.restart()

    def restart(self):
        path, heads = self.home / "audit.sqlite", Heads(self.home / "state.sqlite")
        self.journal = AuditLog.open(path, self.identity, self.name)
        self.heads = heads
        self.witness = Witness(self.name, self.identity, self.journal, self.partners, heads, self.former, self._clock)

    def stop(self):
        self.journal.close()

    def events(self, kind):
        return [entry.event for entry in take(self.home / "audit.sqlite").entries() if isinstance(entry.event, kind)]

    def offer_to(self, name):
        (offer,) = self.witness.offers([name])
        return offer


def carried(sender, message):
    """What an honest gateway makes of a message: it comes under its sender's name."""
    return decode_from_daemon(encode(message)).model_copy(update={"peer": sender.name})


def settle(owner, partner):
    """An offer and all that follows from it."""
    return converse(owner, partner, [owner.offer_to(partner.name)])


def converse(owner, partner, said):
    told = []
    while said:
        told += said
        answers = [answer for message in said for answer in partner.witness.hear(carried(owner, message))]
        told += answers
        said = [reply for answer in answers for reply in owner.witness.hear(carried(partner, answer))]
    return told


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sides(tmp_path, clock):
    identities = {name: Identity.generate() for name in NAMES}
    made = [Side(tmp_path, name, identities, clock) for name in NAMES]
    yield made
    for side in made:
        side.stop()


def roll_back(side, *events):
    """The owner goes back to a log of one entry under the same key, and goes on from there."""
    side.stop()
    (side.home / "audit.sqlite").unlink()
    side.restart()
    side.journal.append_all(events)


def test_heads_are_listed_for_programs(sides):
    """What `privity audit heads --json` prints is JSON alone, of one log as of all; without it a note is a note."""
    a, b, _ = sides
    a.journal.append(EVENT)
    settle(a, b)
    note = witnessed_of(b.home)["clinic-a"].note.render()

    def heads(home, *words):
        done = CliRunner().invoke(app, ["heads", "--home", str(home), *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    signed = parse_checkpoint(parse_note(note).text).size
    assert json.loads(heads(b.home, "--of", "clinic-a", "--json")) == {
        "of": "clinic-a",
        "entries": signed,
        "note": note,
    }
    assert heads(b.home, "--of", "clinic-a") == note
    assert json.loads(heads(b.home, "--json")) == {"cosigned_here": {"clinic-a": signed}, "cosigned_by": {}}
    assert json.loads(heads(a.home, "--json")) == {"cosigned_here": {}, "cosigned_by": {"clinic-b": signed}}


def test_a_head_is_cosigned_and_kept_on_both_sides(sides):
    """The owner gets the partner's cosignature on its head, each log says so, and verification shows it."""
    a, b, _ = sides
    a.journal.append(EVENT)
    size = a.journal.size
    assert [type(message) for message in settle(a, b)] == [Offer, Cosigned]
    (known,) = cosigned_of(a.home)
    assert (known.checkpoint.size, known.cosigner.name) == (size, "clinic-b")
    assert witnessed_of(b.home)["clinic-a"].checkpoint == known.checkpoint
    recorded = HeadCosigned(log="clinic-a", by="clinic-b", size=size, root=known.checkpoint.root.hex())
    assert a.events(HeadCosigned) == b.events(HeadCosigned) == [recorded]
    verdict = verify(a.home, a.identity.fingerprint)
    assert verdict.ok
    assert verdict.head_checked
    assert f"{size} entries, by clinic-b ({b.identity.fingerprint})" in verdict.cosigned[0]


def test_each_head_continues_the_one_before(sides):
    """Heads that grow are cosigned one after the other, across restarts of both."""
    a, b, _ = sides
    for _ in range(3):
        a.journal.append_all([EVENT] * 5)
        settle(a, b)
        for side in (a, b):
            side.stop()
            side.restart()
    sizes = [event.size for event in b.events(HeadCosigned)]
    assert len(sizes) == 3
    assert sizes == sorted(set(sizes))
    assert cosigned_of(a.home)[0].checkpoint.size == sizes[-1]


def test_what_was_answered_is_not_offered_again(sides):
    """Cosignatures are entries themselves: on their account alone no head is offered, or it would never end."""
    a, b, c = sides
    assert [offer.peer for offer in a.witness.offers()] == ["clinic-b", "clinic-c"]
    settle(a, b)
    settle(a, c)
    assert a.witness.offers() == []
    settle(b, a)
    assert a.witness.offers() == []
    a.journal.append(EVENT)
    assert len(a.witness.offers()) == 2


def test_only_confirmed_partners_are_offered(sides):
    """A stranger in a session gets no head, and a name without a confirmation none."""
    a, *_ = sides
    assert a.witness.offers(["stranger"]) == []


def test_an_owner_that_forgot_is_told_from_where(sides):
    """An owner whose state is lost offers from the beginning, hears which head counts, and proves from there."""
    a, b, _ = sides
    settle(a, b)
    a.stop()
    (a.home / "state.sqlite").unlink()
    a.restart()
    a.journal.append(EVENT)
    assert [type(message) for message in settle(a, b)] == [Offer, Declined, Offer, Cosigned]
    assert not a.events(HeadRefused)
    assert not b.events(HeadRefused)


def test_a_rolled_back_log_is_refused_and_both_log_it(sides):
    """A log that is shorter than the head that was cosigned is refused as such, and does not verify."""
    a, b, _ = sides
    a.journal.append_all([EVENT] * 3)
    settle(a, b)
    size = cosigned_of(a.home)[0].checkpoint.size
    roll_back(a)
    with pytest.raises(
        HeadError, match=rf"clinic-b refuses this log's head: .* over {size} entries.*shorter"
    ) as caught:
        settle(a, b)
    assert caught.value.code == "head.rollback"
    refused = HeadRefused(log="clinic-a", by="clinic-b", size=1, cosigned=size, reason="rollback")
    assert a.events(HeadRefused) == b.events(HeadRefused) == [refused]
    verdict = verify(a.home)
    assert verdict.failure.fault == "rollback"
    assert "the head that clinic-b cosigned" in verdict.failure.what


@pytest.mark.parametrize("entries", [3, 9])
def test_a_log_written_anew_is_refused_as_a_fork(sides, entries):
    """Another history under the same key is refused, whether it is as long as the old one or longer."""
    a, b, _ = sides
    a.journal.append_all([EVENT] * 3)
    settle(a, b)
    roll_back(a, *[LoginOffered(role="operator")] * entries)
    with pytest.raises(HeadError, match="this log does not continue") as caught:
        settle(a, b)
    assert caught.value.code == "head.fork"
    (mine,), (theirs,) = a.events(HeadRefused), b.events(HeadRefused)
    assert mine.reason == theirs.reason == "fork"
    assert verify(a.home).failure.fault == "fork"


def test_a_restored_log_is_cosigned_again(sides, tmp_path):
    """Whoever rolled back by mistake and restores the whole log is believed again."""
    a, b, _ = sides
    a.journal.append_all([EVENT] * 3)
    settle(a, b)
    a.stop()
    shutil.copy(a.home / "audit.sqlite", tmp_path / "whole.sqlite")
    a.restart()
    roll_back(a)
    with pytest.raises(HeadError):
        settle(a, b)
    a.stop()
    shutil.copy(tmp_path / "whole.sqlite", a.home / "audit.sqlite")
    a.restart()
    a.journal.append(EVENT)
    assert isinstance(settle(a, b)[-1], Cosigned)


def test_the_head_is_remembered_before_the_cosignature_leaves(sides):
    """Where another process answered in between, nothing is cosigned."""
    a, b, _ = sides
    offer = carried(a, a.offer_to("clinic-b"))
    original = b.heads.witnessed

    def overtaken(name):
        known = original(name)
        b.heads.advance(name, known, Witnessed(1, offer.envelope["payload"]))
        return known

    b.heads.witnessed = overtaken
    with pytest.raises(HeadError, match="another process"):
        b.witness.hear(offer)
    assert b.events(HeadCosigned) == []


def test_a_removed_partner_begins_anew(sides):
    """Whoever comes under a removed partner's name has another log; without a removal the old one counts."""
    a, b, _ = sides
    a.journal.append_all([EVENT] * 3)
    settle(a, b)
    roll_back(a)
    b.heads.forget("clinic-a")
    assert [type(message) for message in settle(a, b)] == [Offer, Cosigned]


def test_compare_and_swap_takes_one_of_two(sides):
    """Of two steps from one state the second fails, from nothing as from a head."""
    heads, first, second = sides[0].heads, Witnessed(1, "one"), Witnessed(2, "two")
    assert heads.advance("x", None, first)
    assert not heads.advance("x", None, second)
    assert heads.advance("x", first, second)
    assert not heads.advance("x", first, Witnessed(3, "three"))
    assert heads.witnessed("x") == second


def test_a_log_that_was_handed_over_is_cosigned_on(sides):
    """After a rotation the partner refuses the new key until it is confirmed, and then cosigns the same log."""
    a, b, _ = sides
    settle(a, b)
    old, new = a.identity, Identity.generate()
    a.journal.rotate(new)
    a.identity, a.former = new, [old.public]
    a.stop()
    a.restart()
    with pytest.raises(PartnerError, match="not the one confirmed"):
        settle(a, b)
    b.partners.offer("clinic-a", new.fingerprint)
    with pytest.raises(PartnerError, match="privity partner accept clinic-a"):
        settle(a, b)
    b.partners.accept("clinic-a")
    assert [type(message) for message in settle(a, b)] == [Offer, Cosigned]
    assert verify(a.home, new.fingerprint).ok


def test_a_revoked_partner_is_neither_cosigned_nor_believed(sides):
    """No head of a revoked key is cosigned, and no cosignature of it is kept."""
    a, b, _ = sides
    (cosigned,) = b.witness.hear(carried(a, a.offer_to("clinic-b")))
    a.partners.revoke("clinic-b")
    with pytest.raises(PartnerError, match="was revoked here"):
        a.witness.hear(carried(b, cosigned))
    with pytest.raises(PartnerError, match="was revoked here"):
        a.witness.hear(carried(b, b.offer_to("clinic-a")))
    assert cosigned_of(a.home) == []
    assert [offer.peer for offer in a.witness.offers()] == ["clinic-c"]


# a gateway that lies


def test_an_old_offer_that_comes_again_is_no_rollback(sides):
    """A gateway that replays a head makes nobody look as if its log had been rolled back."""
    a, b, _ = sides
    old = carried(a, a.offer_to("clinic-b"))
    b.witness.hear(old)
    a.journal.append(EVENT)
    settle(a, b)
    with pytest.raises(HeadError, match="no newer than the last one"):
        b.witness.hear(old)
    assert b.events(HeadRefused) == []


def test_an_offer_under_another_name_is_refused(sides):
    """What clinic-a offers is not taken as clinic-c's: the key that was confirmed decides."""
    a, b, c = sides
    offer = carried(a, a.offer_to("clinic-b"))
    for _ in range(2):
        with pytest.raises(
            PartnerError, match=f"{a.identity.fingerprint} came, {c.identity.fingerprint} was confirmed"
        ):
            b.witness.hear(offer.model_copy(update={"peer": "clinic-c"}))
    mismatch = PartnerMismatched(name="clinic-c", confirmed=c.identity.fingerprint, presented=a.identity.fingerprint)
    assert b.events(PartnerMismatched) == [mismatch]  # once, however often it is said


def test_an_offer_for_another_is_refused(sides):
    """A head offered to clinic-b is not cosigned by clinic-c."""
    a, _, c = sides
    with pytest.raises(HeadError, match="a head of clinic-a for clinic-b came to clinic-c"):
        c.witness.hear(carried(a, a.offer_to("clinic-b")))


def test_a_stranger_is_not_cosigned(sides):
    """Who was not confirmed is answered nothing."""
    a, b, _ = sides
    b.partners.remove("clinic-a")
    with pytest.raises(PartnerError, match="not a confirmed partner"):
        b.witness.hear(carried(a, a.offer_to("clinic-b")))


def test_an_altered_offer_is_refused(sides):
    """A changed payload, or one of another type, is not what the key signed."""
    a, b, _ = sides
    offer = carried(a, a.offer_to("clinic-b"))
    with pytest.raises(HeadError, match="does not verify"):
        b.witness.hear(offer.model_copy(update={"envelope": {**offer.envelope, "payload": "e30="}}))
    other = a.identity.seal(HEAD_REFUSAL_TYPE, b"{}")
    with pytest.raises(HeadError, match="another type"):
        b.witness.hear(offer.model_copy(update={"envelope": other}))
    empty = a.identity.seal(HEAD_OFFER_TYPE, b"{}")
    with pytest.raises(HeadError, match="does not hold"):
        b.witness.hear(offer.model_copy(update={"envelope": empty}))


def offered(side, **changes):
    """An offer by the very key, whose content its owner made up."""
    content = {"log": side.name, "to": "clinic-b", "at": 1, "note": side.journal.head(), "old": 0, "proof": ()}
    offer = HeadOffer(**content | changes)
    envelope = side.identity.seal(HEAD_OFFER_TYPE, rfc8785.dumps(offer.model_dump(mode="json")))
    return Offer(peer=side.name, public_key=side.identity.public.hex(), envelope=envelope)


def test_what_an_owner_makes_up_is_refused(sides, clock):
    """Another's head, one with more signatures than its own, one of the future: each has its own error."""
    a, b, c = sides
    with pytest.raises(HeadError, match="not of its log alone"):
        b.witness.hear(offered(a, note=c.journal.head()))
    twice = a.journal.head() + c.journal.head().rpartition("\n\n")[2]
    with pytest.raises(HeadError, match="not of its log alone"):
        b.witness.hear(offered(a, note=twice))
    forged = a.journal.head().replace("\n1\n", "\n7\n")
    with pytest.raises(HeadError, match="its key did not sign"):
        b.witness.hear(offered(a, note=forged))
    late = int((clock.now + timedelta(days=2)).timestamp()) * 1_000_000
    with pytest.raises(HeadError, match="more than a day ahead"):
        b.witness.hear(offered(a, at=late))
    assert b.heads.witnessed("clinic-a") is None


def test_a_proof_that_leads_nowhere_is_a_fork(sides):
    """A longer log whose proof does not lead from the head that was cosigned is refused."""
    a, b, _ = sides
    settle(a, b)
    size = cosigned_of(a.home)[0].checkpoint.size
    a.journal.append(EVENT)
    _, proof = a.journal.head_since(size)
    assert proof
    later = b.heads.witnessed("clinic-a").at + 1
    (answer,) = b.witness.hear(offered(a, at=later, old=size, proof=()))
    assert isinstance(answer, Declined)
    assert b.events(HeadRefused)[0].reason == "fork"


def test_a_forged_cosignature_is_refused(sides):
    """What the partner's key did not sign, or signed of another log or head, is not kept."""
    a, b, c = sides
    (cosigned,) = b.witness.hear(carried(a, a.offer_to("clinic-b")))
    good = carried(b, cosigned)
    plain = good.model_copy(update={"note": a.journal.head()})
    with pytest.raises(HeadError, match="not signed by its key"):
        a.witness.hear(plain)
    with pytest.raises(PartnerError, match="not the one confirmed"):
        a.witness.hear(good.model_copy(update={"peer": "clinic-c"}))
    swapped = good.model_copy(update={"peer": "clinic-c", "public_key": c.identity.public.hex()})
    with pytest.raises(HeadError, match="what came as a cosignature of clinic-c is not signed by its key"):
        a.witness.hear(swapped)
    (other,) = b.witness.hear(carried(c, c.offer_to("clinic-b")))
    with pytest.raises(HeadError, match="not of this log"):
        a.witness.hear(carried(b, other))
    assert cosigned_of(a.home) == []
    a.witness.hear(good)
    assert len(cosigned_of(a.home)) == 1


def test_a_wrong_cosignature_in_a_home_is_found(sides, clock):
    """A kept head whose cosignature another key made, or that was taken away, does not verify, and says whose."""
    a, b, c = sides
    settle(a, b)
    (known,) = cosigned_of(a.home)
    own = [line for line in known.note.signatures if line.name == "clinic-a"]
    by_another = cosign(known.note.text, "clinic-b", c.identity, clock())
    for lines in ([*own, by_another], own):
        note = replace(known.note, signatures=tuple(lines)).render()
        with closing(sqlite3.connect(a.home / "state.sqlite")) as connection, connection:
            connection.execute("UPDATE heads_cosigned SET note = ?", (note,))
        failure = verify(a.home).failure
        assert failure.fault == "cosignature"
        assert f"over {known.checkpoint.size} entries is not cosigned by clinic-b's key" in failure.what


def test_an_old_cosignature_that_comes_again_changes_nothing(sides):
    """The newest head stays, and the log says it once."""
    a, b, _ = sides
    (first,) = b.witness.hear(carried(a, a.offer_to("clinic-b")))
    a.witness.hear(carried(b, first))
    a.journal.append(EVENT)
    settle(a, b)
    newest = cosigned_of(a.home)
    a.witness.hear(carried(b, first))
    assert cosigned_of(a.home) == newest
    assert len(a.events(HeadCosigned)) == 2


def refusal(owner, partner, offer_at, **changes):
    content = {"log": owner.name, "by": partner.name, "at": offer_at, "reason": "fork", "known": owner.journal.head()}
    made = HeadRefusal(**content | changes)
    envelope = partner.identity.seal(HEAD_REFUSAL_TYPE, rfc8785.dumps(made.model_dump(mode="json")))
    return Declined(peer=partner.name, public_key=partner.identity.public.hex(), envelope=envelope)


def at_of(offer):
    return HeadOffer.model_validate_json(b64decode(offer.envelope["payload"])).at


def test_a_refusal_needs_the_head_that_speaks_against(sides):
    """A refusal that answers no offer, names a foreign head, or one that this log continues, alarms nobody."""
    a, b, c = sides
    offer = a.offer_to("clinic-b")
    at = at_of(offer)
    with pytest.raises(HeadError, match="answers no offer"):
        a.witness.hear(refusal(a, b, at - 1))
    with pytest.raises(HeadError, match="answers no offer"):
        a.witness.hear(refusal(a, b, at, log="clinic-c"))
    with pytest.raises(HeadError, match="on account of a head that is not of this log"):
        a.witness.hear(refusal(a, b, at, known=c.journal.head()))
    with pytest.raises(HeadError, match="refuses a head that continues the one that it names"):
        a.witness.hear(refusal(a, b, at))
    assert a.events(HeadRefused) == []


def test_a_cosignature_of_a_head_that_the_log_lost_is_not_kept(sides):
    """An answer that comes after the log was rolled back does not pass for one of the log as it is."""
    a, b, _ = sides
    a.journal.append_all([EVENT] * 3)
    (cosigned,) = b.witness.hear(carried(a, a.offer_to("clinic-b")))
    roll_back(a)
    with pytest.raises(HeadError, match="that this log does not continue"):
        a.witness.hear(carried(b, cosigned))


def test_the_note_is_what_other_witnesses_write(sides):
    """The head that is kept is a C2SP checkpoint with one cosignature/v1 line, which is 76 bytes with its key id."""
    a, b, _ = sides
    settle(a, b)
    (kept,) = a.heads.cosigned()
    note = parse_note(kept.note)
    own, line = note.signatures
    assert (own.name, len(own.blob)) == ("clinic-a", 4 + 64)
    assert (line.name, len(line.blob)) == ("clinic-b", 4 + 8 + 64)
    assert parse_checkpoint(note.text).origin == "clinic-a"

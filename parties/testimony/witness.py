"""A daemon's part in cosigning: it offers its own log's head to partners, and cosigns theirs.

Offers and answers travel through the gateway, which is trusted to deliver them and for nothing else: each is signed by
the key that the operator confirmed, names whom it is for, and can't be taken for another. What is promised by a
cosignature: of this log no head was ever cosigned here that this one does not continue.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Protocol, TypeVar

import rfc8785
import structlog
from pydantic import ValidationError

from parties.agreement.plan import Frozen, explain
from parties.audit.events import HeadCosigned, HeadRefused, PartnerMismatched
from parties.audit.heads import KnownHead
from parties.audit.log import AuditLog
from parties.audit.merkle import extends
from parties.audit.notes import Checkpoint, cosign, parse_checkpoint, parse_note
from parties.errors import ContractError, HeadError, PartnerError
from parties.keys.identity import Identity, fingerprint, unseal
from parties.keys.partners import Keys
from parties.keys.tls import utc_now
from parties.service.messages import (
    HEAD_OFFER_TYPE,
    HEAD_REFUSAL_TYPE,
    Cosigned,
    Declined,
    FromPartner,
    HeadOffer,
    HeadRefusal,
    Offer,
    Relayed,
)
from parties.testimony.witness_store import CosignedNote, Heads, Witnessed

AHEAD: Final = timedelta(days=1)  # how far a partner's clock may be ahead of this one
MICROSECOND: Final = timedelta(microseconds=1)
EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")

Reason = Literal["behind", "rollback", "fork"]
S = TypeVar("S", bound=Frozen)
_REASONS: Final = {
    "rollback": "it cosigned one over {} entries, and this log is shorter",
    "fork": "it cosigned one over {} entries that this log does not continue",
}

log = structlog.get_logger("privity")


class Confirmed(Protocol):
    """Whose keys are taken: a daemon's partners, or those who joined a gateway."""

    def all(self) -> dict[str, str]:
        """Fingerprints by name."""
        ...

    def keys(self) -> Keys:
        """What is known of other keys."""
        ...

    def check_key(self, name: str, presented: str) -> None:
        """Raises: PartnerError for a key that is not this one's."""
        ...


@dataclass(frozen=True)
class _Offered:
    """What an offer said: its time, and how much the log had then, in all and to tell."""

    at: int
    told: int
    size: int


class Witness:
    """One participant's side of all cosigning. Answers are returned, for the caller to send."""

    def __init__(
        self,
        name: str,
        identity: Identity,
        journal: AuditLog,
        partners: Confirmed,
        heads: Heads,
        former: Sequence[bytes] = (),
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._name, self._identity, self._journal = name, identity, journal
        self._own_keys = (*former, identity.public)  # `former`: those that handed over to this identity
        self._partners, self._heads, self._clock = partners, heads, clock
        self._offered: dict[str, _Offered] = {}  # by partner: the last offer
        self._settled: dict[str, int] = {}  # by partner: `_told` at the last offer that was answered
        self._own_entries = 0  # that say who cosigned what, and no more: on their account nothing is offered
        self._last_at = 0
        self._mismatched: set[tuple[str, str]] = set()

    def hear(self, message: FromPartner) -> list[FromPartner]:
        """What to answer to what came from a participant, or in its name.

        Raises: HeadError, PartnerError or AuditError if it does not hold; nothing of it was taken then. HeadError too
        if a partner rightly refuses this log's head, once that is recorded.
        """
        self._check_key(message)
        match message:
            case Offer():
                return [self._on_offer(message)]
            case Cosigned():
                self._on_cosigned(message)
            case Declined():
                return [*self._on_declined(message)]
        return []

    # the own log

    def offers(self, names: Iterable[str] | None = None) -> list[Offer]:
        """The newest head, for those of these partners (or of all) that have not answered to it yet."""
        confirmed = self._partners.all()
        chosen = confirmed if names is None else [name for name in names if name in confirmed]
        return [self._offer(name) for name in chosen if self._settled.get(name) != self._told()]

    def _told(self) -> int:
        """How much the log has to say; it grows when something happened."""
        return self._journal.size - self._own_entries

    def _offer(self, name: str, since: int | None = None) -> Offer:
        old = self._cosigned_size(name) if since is None else since
        # A log that is shorter than what was cosigned is offered all the same: that it was rolled back must show.
        note, proof = self._journal.head_since(old if old <= self._journal.size else 0)
        self._last_at = max(self._last_at + 1, (self._clock() - EPOCH) // MICROSECOND)
        size = parse_checkpoint(parse_note(note).text).size
        self._offered[name] = _Offered(self._last_at, size - self._own_entries, size)
        hashes = tuple(base64.b64encode(item).decode() for item in proof)
        offer = HeadOffer(log=self._name, to=name, at=self._last_at, note=note, old=old, proof=hashes)
        return Offer(peer=name, public_key=self._identity.public.hex(), envelope=self._seal(HEAD_OFFER_TYPE, offer))

    def _cosigned_size(self, name: str) -> int:
        sizes = [KnownHead.parse(kept.note).checkpoint.size for kept in self._heads.cosigned() if kept.name == name]
        return max(sizes, default=0)

    def _on_cosigned(self, message: Cosigned) -> None:
        """Keep a partner's cosignature, if it is one, of this log."""
        head, key = KnownHead.parse(message.note), bytes.fromhex(message.public_key)
        found = head.checkpoint
        if not self._is_own(head):
            raise HeadError(f"{message.peer} cosigned a head that is not of this log")
        if head.note.cosigned_by(message.peer, key) is None:
            raise HeadError(f"what came as a cosignature of {message.peer} is not signed by its key")
        if found.size > self._journal.size or self._journal.root(found.size) != found.root:
            raise HeadError(
                f"{message.peer} cosigned a head over {found.size} entries that this log does not continue",
                action="the log was rolled back or written anew: run `privity audit verify` on it",
            )
        if found.size <= self._cosigned_size(message.peer):
            return  # late, or again
        self._record(HeadCosigned(log=self._name, by=message.peer, size=found.size, root=found.root.hex()))
        self._heads.keep(CosignedNote(message.peer, key, message.note))
        self._settle(message.peer)

    def _on_declined(self, message: Declined) -> list[Offer]:
        """Offer with another proof, if that is all that was missing; else record the refusal."""
        refusal = self._open(message, HEAD_REFUSAL_TYPE, HeadRefusal)
        offered = self._offered.get(message.peer)
        if offered is None or (refusal.log, refusal.by, refusal.at) != (self._name, message.peer, offered.at):
            raise HeadError(f"a refusal of {message.peer} answers no offer of this log")
        known = KnownHead.parse(refusal.known)
        size = known.checkpoint.size
        if not self._is_own(known):
            raise HeadError(f"{message.peer} refuses on account of a head that is not of this log")
        if size <= self._journal.size and self._journal.root(size) == known.checkpoint.root:
            if refusal.reason == "behind":
                return [self._offer(message.peer, since=size)]
            raise HeadError(f"{message.peer} refuses a head that continues the one that it names")
        self._settle(message.peer)
        reason: Reason = "rollback" if size > self._journal.size else "fork"
        self._record(HeadRefused(log=self._name, by=message.peer, size=offered.size, cosigned=size, reason=reason))
        raise HeadError(
            f"{message.peer} refuses this log's head: {_REASONS[reason].format(size)}",
            action="the log was rolled back or written anew: run `privity audit verify`, then restore a whole one",
            reason=reason,
        )

    def _is_own(self, head: KnownHead) -> bool:
        signed = any(head.note.signed_by(self._name, key) for key in self._own_keys)
        return head.checkpoint.origin == self._name and signed

    def _settle(self, name: str) -> None:
        if name in self._offered:
            self._settled[name] = self._offered[name].told

    # partners' logs

    def _on_offer(self, message: Offer) -> Cosigned | Declined:
        """Cosign a head that continues the last one cosigned here, or say why not."""
        offer = self._open(message, HEAD_OFFER_TYPE, HeadOffer)
        if (offer.log, offer.to) != (message.peer, self._name):
            raise HeadError(f"a head of {offer.log} for {offer.to} came to {self._name} from {message.peer}")
        head = KnownHead.parse(offer.note)
        if head.checkpoint.origin != offer.log or len(head.note.signatures) != 1:
            raise HeadError(f"{message.peer} offered a head that is not of its log alone")
        if not head.note.signed_by(offer.log, bytes.fromhex(message.public_key)):
            raise HeadError(f"{message.peer} offered a head that its key did not sign")
        now, known = self._clock(), self._heads.witnessed(offer.log)
        if known is not None and offer.at <= known.at:
            raise HeadError(
                f"a head of {offer.log} came that is no newer than the last one", action="nothing: it is old"
            )
        if EPOCH + offer.at * MICROSECOND > now + AHEAD:
            raise HeadError(f"the clock of {offer.log} is more than a day ahead", action="ask its operator")
        if known is not None and (reason := _judge(offer, head.checkpoint, known)) is not None:
            return self._decline(offer, head.checkpoint, known, reason)
        return self._cosign(offer, head, known, now)

    def _cosign(self, offer: HeadOffer, head: KnownHead, known: Witnessed | None, now: datetime) -> Cosigned:
        line = cosign(head.note.text, self._name, self._identity, now)
        note = head.note.with_signatures(line).render()
        # Order: remembered, recorded, sent. A cosignature that left and was forgotten could be given to another log.
        self._remember(offer, known, note)
        root = head.checkpoint.root.hex()
        self._record(HeadCosigned(log=offer.log, by=self._name, size=head.checkpoint.size, root=root))
        return Cosigned(peer=offer.log, public_key=self._identity.public.hex(), note=note)

    def _decline(self, offer: HeadOffer, head: Checkpoint, known: Witnessed, reason: Reason) -> Declined:
        self._remember(offer, known, known.note)
        if reason != "behind":
            size = KnownHead.parse(known.note).checkpoint.size
            self._record(HeadRefused(log=offer.log, by=self._name, size=head.size, cosigned=size, reason=reason))
            log.error("head refused", log=offer.log, reason=reason, entries=head.size, cosigned=size)
        refusal = HeadRefusal(log=offer.log, by=self._name, at=offer.at, reason=reason, known=known.note)
        envelope = self._seal(HEAD_REFUSAL_TYPE, refusal)
        return Declined(peer=offer.log, public_key=self._identity.public.hex(), envelope=envelope)

    def _remember(self, offer: HeadOffer, known: Witnessed | None, note: str) -> None:
        if not self._heads.advance(offer.log, known, Witnessed(offer.at, note)):
            raise HeadError(f"another process answers the offers of {offer.log}", action="run one daemon in a home")

    # both

    def _record(self, event: HeadCosigned | HeadRefused) -> None:
        self._journal.append(event)
        self._own_entries += 1

    def _check_key(self, message: Relayed) -> None:
        """Raises: PartnerError unless it comes with the key that was confirmed for this name."""
        confirmed, presented = self._partners.all().get(message.peer), fingerprint(bytes.fromhex(message.public_key))
        try:
            self._partners.check_key(message.peer, presented)
        except PartnerError:
            known = confirmed in {None, presented} or self._partners.keys().offered.get(message.peer) == presented
            if (
                not known and (message.peer, presented) not in self._mismatched
            ):  # once: a gateway can repeat it for ever
                self._mismatched.add((message.peer, presented))
                self._journal.append(PartnerMismatched(name=message.peer, confirmed=confirmed, presented=presented))
            raise

    def _seal(self, kind: str, content: Frozen) -> dict[str, Any]:
        return self._identity.seal(kind, rfc8785.dumps(content.model_dump(mode="json")))

    def _open(self, message: Offer | Declined, kind: str, model: type[S]) -> S:
        """What the sender's key signed as this kind."""
        try:
            return model.model_validate_json(unseal(message.envelope, bytes.fromhex(message.public_key), kind))
        except ContractError as exc:
            raise HeadError(f"a '{message.type}' of {message.peer}: {exc.what}") from exc
        except ValidationError as exc:
            raise HeadError(f"a '{message.type}' of {message.peer} does not hold: {explain(exc)}") from exc


def _judge(offer: HeadOffer, head: Checkpoint, known: Witnessed) -> Reason | None:
    """What speaks against cosigning; None if the head continues the one that was cosigned last."""
    last = KnownHead.parse(known.note).checkpoint
    if head.size < last.size:
        return "rollback"
    if head.size == last.size:
        return None if head.root == last.root else "fork"
    if offer.old != last.size:
        return "behind"
    proof = [base64.b64decode(item) for item in offer.proof]
    return None if extends(last.size, last.root, head.size, head.root, proof) else "fork"

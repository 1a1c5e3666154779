"""Who may speak on the control stream: TLS lets in whoever holds an invitation, this module one identity each.

The first stream under an invitation pins identity key and certificate; from then on another of either is refused and
recorded, but for a key to which the pinned one handed over. A name in a message counts for nothing: the certificate
must be under that very participant's invitation.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from pydantic import ValidationError

from gateway.coordination.journal import Journal
from gateway.storage.store import Member, Rows
from parties.agreement.plan import explain
from parties.audit.events import InvitationMade, InvitationUsed, KeyMismatched, KeyReplaced, NodeJoined
from parties.errors import ContractError, PartnerError
from parties.keys.handover import SignedHandover, successor_of
from parties.keys.identity import fingerprint, unseal
from parties.keys.tls import certificate_sha256
from parties.service.messages import INTRODUCTION_TYPE, Hello, Introduction


def admit(rows: Rows, journal: Journal, hello: Hello, certificate: str, now: datetime) -> Member:
    """The participant that a stream's first message proves to come from.

    Raises: PartnerError if it proves nothing, or another key or certificate than the one that joined.
    """
    introduction = read_introduction(hello.introduction)
    _check_certificate(introduction, certificate)
    member = rows.member(introduction.name)
    if member is None or not _is_under(certificate, member.authority):
        raise PartnerError(
            f"the certificate shown is not under the invitation of '{introduction.name}'",
            action="join with the invitation that was made out to this name",
        )
    if member.role != introduction.role:
        raise PartnerError(
            f"'{member.name}' is invited as {member.role}, not as {introduction.role}",
            action=f"run `privity {'dealer' if member.role == 'dealer' else 'node'} init` with this invitation",
        )
    if member.public_key is None:
        _join(rows, journal, member, introduction, now)
    else:
        _compare(rows, journal, member, member.public_key, introduction, hello.handovers)
    journal.append(NodeJoined(name=member.name, fingerprint=fingerprint(bytes.fromhex(introduction.public_key))))
    return member


def read_introduction(envelope: dict[str, Any]) -> Introduction:
    """What an envelope says that is signed by the key that it names. Raises: PartnerError."""
    try:
        claimed = Introduction.model_validate_json(base64.b64decode(envelope["payload"]))
        unseal(envelope, bytes.fromhex(claimed.public_key), INTRODUCTION_TYPE)
    except ValidationError as exc:
        raise PartnerError(f"an introduction does not hold: {explain(exc)}") from exc
    except (KeyError, TypeError, ValueError) as exc:
        raise PartnerError("an introduction is malformed", action="update the daemon") from exc
    except ContractError as exc:
        raise PartnerError(f"an introduction does not hold: {exc.what}", action=exc.action) from exc
    return claimed


def _check_certificate(introduction: Introduction, certificate: str) -> None:
    if introduction.certificate_sha256 != certificate_sha256(certificate):
        raise PartnerError(
            f"'{introduction.name}' introduces itself with another certificate than its connection shows",
            action="look for something that sits between the daemon and the gateway",
        )


def _follows(known: str, introduction: Introduction, handovers: Sequence[SignedHandover]) -> bool:
    """Whether the key that joined handed over to the one that is shown. Raises: PartnerError for a broken chain."""
    successor = successor_of(introduction.name, fingerprint(bytes.fromhex(known)), handovers)
    return successor is not None and successor.hex() == introduction.public_key


def _is_under(certificate: str, authority: str) -> bool:
    shown = x509.load_pem_x509_certificate(certificate.encode())
    try:
        shown.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def _join(rows: Rows, journal: Journal, member: Member, introduction: Introduction, now: datetime) -> None:
    used = [other.name for other in rows.members() if other.public_key == introduction.public_key]
    if used:
        raise PartnerError(
            f"'{member.name}' comes with the identity key with which '{used[0]}' joined",
            action="make an identity of its own for each participant",
        )
    if member.name in rows.unrecorded():
        journal.append(InvitationMade(name=member.name))
        rows.mark_recorded(member.name)
    key = fingerprint(bytes.fromhex(introduction.public_key))
    journal.append(InvitationUsed(name=member.name, fingerprint=key))
    rows.join(member.name, introduction.public_key, introduction.certificate_sha256, now)


def _compare(
    rows: Rows,
    journal: Journal,
    member: Member,
    known: str,
    introduction: Introduction,
    handovers: Sequence[SignedHandover],
) -> None:
    if (known, member.certificate_sha256) == (introduction.public_key, introduction.certificate_sha256):
        return
    if member.certificate_sha256 == introduction.certificate_sha256 and _follows(known, introduction, handovers):
        presented = fingerprint(bytes.fromhex(introduction.public_key))
        journal.append(KeyReplaced(name=member.name, known=fingerprint(bytes.fromhex(known)), successor=presented))
        rows.replace_key(member.name, introduction.public_key)
        return
    event = KeyMismatched(
        name=member.name,
        known=fingerprint(bytes.fromhex(known)),
        presented=fingerprint(bytes.fromhex(introduction.public_key)),
    )
    journal.append(event)
    raise PartnerError(
        f"'{member.name}' has joined with another key ({event.known}) than the one shown ({event.presented})"
        if event.known != event.presented
        else f"'{member.name}' has joined with another TLS certificate than the one shown",
        action="if its invitation was copied, tell its operator; to begin anew it needs another name",
    )

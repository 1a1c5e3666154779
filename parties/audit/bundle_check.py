"""Is this bundle what the log's owner signed, and does each entry in it stand in the log? Offline, from the file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import rfc8785

from parties.agreement.contract import Participant, check_approval
from parties.agreement.kinds import AnyContract
from parties.audit.agreements import Agreement
from parties.audit.bundle import BUNDLE_TYPE, ENTRIES, FILE_NAME, MANIFEST, PROOFS, UNCHANGED, Bundle, read
from parties.audit.entries import Entry, decode
from parties.audit.events import ConsentWithdrawn, session_of
from parties.audit.heads import KnownHead
from parties.audit.merkle import HASH_BYTES, Frontier, extends, includes, leaf_hash
from parties.audit.notes import Checkpoint, decode_base64
from parties.audit.verdict import Failure, Found, Verdict
from parties.errors import AuditError, ContractError
from parties.keys.identity import fingerprint, unseal
from parties.testimony.commitment import check as check_commitment
from parties.testimony.statement import read_statement
from parties.testimony.withdrawal import check_withdrawal, digest_of


def examine(path: Path, key: str | None, known: Sequence[KnownHead]) -> tuple[Verdict, Bundle | None]:
    """The verdict on a bundle's file, and the bundle if it could be read; `key` in canonical form."""
    try:
        bundle = read(path)
    except AuditError as exc:
        failure = Failure("file", exc.what, action=exc.action)
        return Verdict(str(path), failure, "bundle"), None
    return _Examination(str(path), bundle, known).verdict_on(key), bundle


class _Examination:
    """One pass over one bundle; `verdict` holds what is established so far."""

    def __init__(self, path: str, bundle: Bundle, known: Sequence[KnownHead]) -> None:
        self.verdict = Verdict(path, kind="bundle")
        self._bundle, self._known = bundle, known
        self._recorded: dict[tuple[str, str], str] = {}  # by session and party: the digest of its withdrawal in the log

    def verdict_on(self, key: str | None) -> Verdict:
        try:
            self._signed(key)
            head = self._bundle.head()
            head.accept(self.verdict.origin, *self._keys)
            self._entries(head.checkpoint)
            self._agreements()
            self._cosigned(head.checkpoint)
            self._heads(head.checkpoint)
            self._bundle.witnessed()
        except Found as found:
            return replace(self.verdict, failure=found.failure)
        except AuditError as exc:
            return replace(self.verdict, failure=Failure("bundle", exc.what, action=exc.action))
        return self.verdict

    def _remark(self, text: str) -> None:
        self.verdict = replace(self.verdict, remarks=(*self.verdict.remarks, text))

    def _signed(self, key: str | None) -> None:
        """The owner's signature over the list of files, and the files themselves."""
        manifest, envelope = self._bundle.signed()
        self._key = bytes.fromhex(manifest.public_key)
        self._keys = self._bundle.keys(manifest)
        signer = fingerprint(self._key)
        self.verdict = replace(self.verdict, origin=manifest.origin, fingerprint=signer, session=manifest.session)
        if key not in {None, *map(fingerprint, self._keys)}:
            raise Found("key", f"it is signed by {signer}, not by {key}")
        if key is None:
            self._remark(
                f"the signer is not confirmed: ask {manifest.origin} for its fingerprint, then give it by --key"
            )
        elif key != signer:
            self._remark(f"the key {key} handed the log over to {signer}, which signs it by now: confirm that one")
        try:
            unseal(envelope, self._key, BUNDLE_TYPE)
        except ContractError as exc:
            raise Found("bundle", "its list of files is not signed by the log's key") from exc
        files = {name: content for name, content in self._bundle.files.items() if name != MANIFEST}
        for name in sorted(files.keys() | manifest.files.keys()):
            if not FILE_NAME.fullmatch(name) or name not in manifest.files:
                raise Found("bundle", f"the file {name[:100]!r} does not belong to it")
            if name not in files:
                raise Found("bundle", f"the file {name} is missing")
            if hashlib.sha256(files[name]).hexdigest() != manifest.files[name]:
                raise Found("bundle", f"the file {name} was altered after the bundle was signed")
        self.verdict = replace(self.verdict, signer_confirmed=key is not None)

    def _entries(self, head: Checkpoint) -> None:
        """Each entry in its place, and under the head."""
        if self.verdict.session:
            self._proven(head)
            self._remark("that no entry about the session is missing is the word of the log's owner")
        else:
            self._complete(head)

    def _proven(self, head: Checkpoint) -> None:
        lines, proofs = self._bundle.lines(ENTRIES), self._bundle.lines(PROOFS)
        if len(lines) != len(proofs):
            raise Found("bundle", f"it has {len(lines)} entries and {len(proofs)} proofs")
        last = -1
        for line, proof in zip(lines, proofs, strict=True):
            entry = self._entry(line)
            if entry.index <= last:
                raise Found("moved", f"entry {entry.index} is not in its place", entry.index)
            if session_of(entry.event) != self.verdict.session:
                raise Found("entry", f"entry {entry.index} is not about this session", entry.index)
            if not includes(head.root, head.size, leaf_hash(line), entry.index, _hashes(proof)):
                what = f"entry {entry.index} is not in the log of its head: the hashes do not lead there"
                raise Found("proof", what, entry.index)
            last = entry.index
        self.verdict = replace(self.verdict, entries=len(lines))

    def _complete(self, head: Checkpoint) -> None:
        frontier, wanted = Frontier(), {other.checkpoint.size: other.checkpoint.root for other in self._known}
        for line in self._bundle.lines(ENTRIES):
            entry = self._entry(line)
            if entry.index != frontier.size:
                raise Found("missing", f"entry {frontier.size} is missing", frontier.size)
            frontier.append(leaf_hash(line))
            if wanted.pop(frontier.size, frontier.root()) != frontier.root():
                raise _fork(frontier.size)
        if (frontier.size, frontier.root()) != (head.size, head.root):
            raise Found("head", f"its {frontier.size} entries are not those of its head over {head.size}")
        if wanted:
            size = head.size
            raise Found(
                "rollback",
                f"entry {size} is missing: the head given is over {max(wanted)} entries, the log has {size}",
                size,
            )
        self.verdict = replace(self.verdict, entries=frontier.size, head_checked=bool(self._known))

    def _entry(self, line: bytes) -> Entry:
        try:
            entry = decode(line)
        except AuditError as exc:
            raise Found("entry", f"an entry {exc.what}", None, exc.action) from exc
        if entry.origin != self.verdict.origin:
            raise Found("moved", f"entry {entry.index} is of the log of {entry.origin}", entry.index)
        if isinstance(entry.event, ConsentWithdrawn):
            self._recorded[entry.event.session, entry.event.who] = entry.event.digest
        return entry

    def _agreements(self) -> None:
        """Contracts by their digest, what was signed on them by the keys that the contract names."""
        for digest, item in self._bundle.agreements().items():
            if hashlib.sha256(item.contract).hexdigest() != digest:
                raise Found("contract", f"the contract of session {digest[:12]} is not the one with that digest")
            try:
                contract = item.parsed()
                self._envelopes(contract, item)
            except ContractError as exc:
                raise Found("contract", f"session {digest[:12]}: {exc.what}", None, exc.action) from exc
            for participant in (*contract.parties, contract.dealer):
                if participant.name == self.verdict.origin and participant.key not in self._keys:
                    what = f"the contract of session {digest[:12]} names another key for {participant.name}"
                    raise Found("contract", what)

    def _envelopes(self, contract: AnyContract, item: Agreement) -> None:
        """Raises: ContractError where one does not hold."""
        for name, envelope in item.approvals.items():
            check_approval(contract, name, envelope)
        for name, envelope in item.transcripts.items():
            read_statement(contract, name, envelope)
        for place, envelope in item.commitments.items():
            check_commitment(contract, place, envelope)
        for name, envelope in item.withdrawals.items():
            self._withdrawn(contract, name, envelope)
        for session, name in self._recorded:
            if session == contract.digest and name not in item.withdrawals:
                self._remark(f"that {name} withdrew its consent is the log's word alone: its own is not in the bundle")

    def _withdrawn(self, contract: AnyContract, name: str, envelope: dict[str, Any]) -> None:
        """That a party's consent ended: the very word that the log recorded, by a key that the contract names.

        A key that follows the owner's own is proven by its hand-overs; another party's, by the owner's record alone.
        Raises: ContractError if the word does not hold.
        """
        recorded, session = self._recorded.get((contract.digest, name)), contract.digest[:12]
        try:
            is_recorded = recorded == digest_of(envelope)
        except rfc8785.CanonicalizationError as exc:
            raise ContractError(f"the withdrawal of {name} has no canonical form", action=UNCHANGED) from exc
        if recorded is not None and not is_recorded:
            raise Found("contract", f"session {session}: the withdrawal of {name} is another than the log recorded")

        def follows(party: Participant, key: bytes) -> bool:
            return key == party.key or (key in self._keys if name == self.verdict.origin else is_recorded)

        word = check_withdrawal(contract, name, envelope, follows)
        signer = fingerprint(bytes.fromhex(word.public_key))
        if name != self.verdict.origin and signer != contract.party(name).fingerprint:
            self._remark(
                f"that {signer}, which signed the withdrawal of {name}, follows the contract's key is the word of the "
                f"log's owner: ask {name}"
            )
        if recorded is None:
            self._remark(f"the log has no entry of the withdrawal of {name} yet: have the bundle exported again")
        end = f"{name} from session {session}, {word.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC, signed by {signer}"
        self.verdict = replace(self.verdict, withdrawn=(*self.verdict.withdrawn, end))

    def _cosigned(self, head: Checkpoint) -> None:
        for line in self._bundle.cosigned():
            known = line.known()
            shown = known.accept(self.verdict.origin, *self._keys)
            old = known.checkpoint
            if not extends(old.size, old.root, head.size, head.root, _hashes(rfc8785.dumps(list(line.proof)))):
                raise Found(
                    "fork", f"its head does not continue the one over {old.size} entries that {line.name} cosigned"
                )
            self.verdict = replace(self.verdict, cosigned=(*self.verdict.cosigned, shown))

    def _heads(self, head: Checkpoint) -> None:
        """Compare the heads that the caller knows, as far as a bundle about one session can be compared."""
        for other in self._known:
            other.accept(self.verdict.origin, *self._keys)
            if other.checkpoint.size == head.size and other.checkpoint.root != head.root:
                raise _fork(head.size)
            if self.verdict.session and other.checkpoint.size != head.size:
                self._remark(
                    "a head given is of another size than the bundle's: only the whole log shows that they agree"
                )
            elif self.verdict.session:
                self.verdict = replace(self.verdict, head_checked=True)


def _fork(size: int) -> Found:
    return Found("fork", f"it is not the log of the head given: they differ within the first {size} entries")


def _hashes(line: bytes) -> list[bytes]:
    """Raises: AuditError unless it is a list of hashes in base64."""
    try:
        hashes = [decode_base64(item) for item in json.loads(line)]
    except (ValueError, TypeError, AttributeError) as exc:
        raise AuditError("a proof in it can't be read", action=UNCHANGED) from exc
    if any(len(item) != HASH_BYTES for item in hashes):
        raise AuditError("a proof in it can't be read", action=UNCHANGED)
    return hashes

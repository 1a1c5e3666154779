"""Writing a bundle from a log."""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import rfc8785

from parties.audit import layout
from parties.audit.agreements import Agreement
from parties.audit.bundle import (
    BUNDLE_TYPE,
    COSIGNED,
    ENTRIES,
    HANDOVERS,
    HEAD,
    MANIFEST,
    PROOFS,
    WITNESSED,
    CosignedHead,
    Manifest,
    WitnessedHead,
    joined,
    pack,
)
from parties.audit.entries import Entry, decode
from parties.audit.events import session_of
from parties.audit.heads import KnownHead
from parties.audit.merkle import consistency_proof, inclusion_proof
from parties.audit.snapshot import UNREADABLE, error_name, reading
from parties.errors import AuditError
from parties.keys.handover import SignedHandover
from parties.keys.identity import Identity


def export(
    path: Path,
    identity: Identity,
    session: str,
    agreements: Mapping[str, Agreement],
    cosigned: Iterable[KnownHead] = (),
    handovers: Sequence[SignedHandover] = (),
    witnessed: Mapping[str, KnownHead] | None = None,
) -> bytes:
    """A bundle of the log at `path`, about the one session whose id begins so, or, if empty, of the whole log.

    Raises: AuditError if there is no such session, or several, or the log is damaged; verify what comes out.
    """
    with reading(path) as connection:
        try:
            return _Export(connection, identity, session, agreements).pack(cosigned, handovers, witnessed or {})
        except UNREADABLE as exc:
            raise AuditError(
                f"its pages are damaged ({error_name(exc)})", action="run `privity audit verify` on it"
            ) from exc


class _Export:
    """One bundle being written from one open log."""

    def __init__(
        self, connection: sqlite3.Connection, identity: Identity, session: str, agreements: Mapping[str, Agreement]
    ) -> None:
        self._connection, self._identity = connection, identity
        newest = layout.last_head(connection)
        if newest is None:
            raise AuditError("it has no signed head", action="run `privity audit verify` on it")
        self._size, self._note = newest
        self._contents = self._chosen(session)
        entries = [decode(content) for _, content in self._contents]
        self._session = _only_session(entries, session) if session else ""
        wanted = {session_of(entry.event) for entry in entries}
        self._agreements = {digest: item for digest, item in agreements.items() if digest in wanted}

    def _chosen(self, session: str) -> list[tuple[int, bytes]]:
        """All entries, or those about the session."""
        # The file finds the digest's text wherever it stands; the entry's own field decides.
        rows = self._connection.execute(
            "SELECT number, content FROM entries WHERE ? = '' OR instr(content, ?) ORDER BY number",
            (session, f'"{session}'.encode()),
        )
        return [
            (number, content)
            for number, content in rows
            if not session or (session_of(decode(content).event) or "").startswith(session)
        ]

    def pack(
        self,
        cosigned: Iterable[KnownHead],
        handovers: Sequence[SignedHandover],
        witnessed: Mapping[str, KnownHead],
    ) -> bytes:
        files = {HEAD: self._note.encode(), ENTRIES: joined(content for _, content in self._contents)}
        if self._session:
            proofs = (inclusion_proof(number, self._size, self._subtree) for number, _ in self._contents)
            files[PROOFS] = joined(rfc8785.dumps(_encoded(proof)) for proof in proofs)
        files[COSIGNED] = joined(self._cosigned(cosigned))
        if seen := [line for name, head in witnessed.items() if (line := self._witnessed(name, head))]:
            files[WITNESSED] = joined(seen)
        if handovers:
            files[HANDOVERS] = joined(rfc8785.dumps(link.model_dump(mode="json")) for link in handovers)
        for digest, item in self._agreements.items():
            files[f"contracts/{digest}.json"] = item.contract
            if item.approvals:
                files[f"approvals/{digest}.json"] = rfc8785.dumps(item.approvals)
            if item.transcripts:
                files[f"transcripts/{digest}.json"] = rfc8785.dumps(item.transcripts)
            if item.commitments:
                files[f"commitments/{digest}.json"] = rfc8785.dumps(item.commitments)
            if item.withdrawals:
                files[f"withdrawals/{digest}.json"] = rfc8785.dumps(item.withdrawals)
        (origin,) = self._connection.execute("SELECT origin FROM log").fetchone()
        manifest = Manifest(
            origin=origin,
            public_key=self._identity.public.hex(),
            session=self._session,
            files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        )
        sealed = self._identity.seal(BUNDLE_TYPE, rfc8785.dumps(manifest.model_dump(mode="json")))
        return pack({MANIFEST: rfc8785.dumps(sealed), **files})

    def _cosigned(self, heads: Iterable[KnownHead]) -> Iterator[bytes]:
        """Those that this bundle may name: a bundle about one session names no other partner."""
        shown = self._participants()
        for head in heads:
            cosigner, old = head.cosigner, head.checkpoint.size
            if cosigner is None or (self._session and cosigner.name not in shown):
                continue
            if not 0 < old <= self._size:
                raise AuditError(
                    f"{cosigner.name} cosigned a head over {old} entries; the log has {self._size}",
                    action="it was rolled back: run `privity audit verify` on it, and restore the whole log",
                )
            proof = consistency_proof(old, self._size, self._subtree)
            line = CosignedHead(
                name=cosigner.name,
                public_key=cosigner.public_key.hex(),
                note=head.note.render(),
                proof=tuple(_encoded(proof)),
            )
            yield rfc8785.dumps(line.model_dump(mode="json"))

    def _witnessed(self, name: str, head: KnownHead) -> bytes:
        """A line, if this bundle may name that participant."""
        if self._session and name not in self._participants():
            return b""
        return rfc8785.dumps(WitnessedHead(name=name, note=head.note.render()).model_dump(mode="json"))

    def _participants(self) -> set[str]:
        contracts = [item.parsed() for item in self._agreements.values()]
        return {participant.name for contract in contracts for participant in (*contract.parties, contract.dealer)}

    def _subtree(self, last: int, level: int) -> bytes:
        return layout.subtree(self._connection, last, level)


def _only_session(entries: Iterable[Entry], session: str) -> str:
    found = {session_of(entry.event) or "" for entry in entries}
    if len(found) != 1:
        raise AuditError(
            f"{len(found)} sessions in this log begin with '{session}'", action="`privity audit list` shows the log"
        )
    return found.pop()


def _encoded(hashes: Iterable[bytes]) -> list[str]:
    return [base64.b64encode(item).decode() for item in hashes]

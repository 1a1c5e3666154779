"""A gateway that somebody modified: it does to each message what the file DEED in its home says."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import rfc8785

from gateway import server
from gateway.cli import main
from gateway.coordination.relay import Line
from gateway.coordination.sessions import Sessions
from parties.audit.notes import Note, Signature, parse_note
from parties.keys.identity import Identity
from parties.service.messages import Cosigned, FromGateway, Offer, Proposal, SignedTranscript, Start

DEED, OLD = "deed", "old-contract"


def altered_contract(change: Callable[[dict[str, Any], str], None]) -> Callable[[str, FromGateway], FromGateway]:
    """Another contract than the one that was proposed."""

    def deed(receiver: str, message: FromGateway) -> FromGateway:
        if not isinstance(message, Proposal):
            return message
        contract = json.loads(message.contract)
        change(contract, receiver)
        return Proposal(contract=rfc8785.dumps(contract).decode())

    return deed


def swap_key(contract: dict[str, Any], receiver: str) -> None:
    victim = "org-1" if receiver != "org-1" else "org-2"
    for party in contract["parties"]:
        if party["name"] == victim:
            party["public_key"] = Identity.generate().public.hex()


def more_iterations(contract: dict[str, Any], _: str) -> None:
    contract["program"]["segments"][0]["slots"] += 1


def open_more(contract: dict[str, Any], _: str) -> None:
    extra = {**contract["disclosures"][0], "name": "gradient", "recipient": "session", "clause": "disclosures.9"}
    contract["disclosures"].append(extra)


def dealer_is_a_party(contract: dict[str, Any], _: str) -> None:
    contract["dealer"] = {key: contract["parties"][0][key] for key in ("name", "public_key")}


def another_for_org_0(contract: dict[str, Any], receiver: str) -> None:
    if receiver == "org-0":
        contract["purpose"] = "something else"


def old_contract(_: str, message: FromGateway) -> FromGateway:
    """The contract in the file OLD in place of each that is proposed."""
    if not isinstance(message, Proposal):
        return message
    return Proposal(contract=(Path(sys.argv[-1]) / OLD).read_text())


def altered_approval(_: str, message: FromGateway) -> FromGateway:
    """A party's workers are to be found somewhere else."""
    if not isinstance(message, Start):
        return message
    envelope = message.approvals["org-1"]
    payload = json.loads(base64.b64decode(envelope["payload"]))
    payload["endpoint"] = "127.0.0.1:9"
    forged = {**envelope, "payload": base64.b64encode(rfc8785.dumps(payload)).decode()}
    return message.model_copy(update={"approvals": {**message.approvals, "org-1": forged}})


def missing_approval(_: str, message: FromGateway) -> FromGateway:
    if not isinstance(message, Start):
        return message
    return message.model_copy(
        update={"approvals": {name: one for name, one in message.approvals.items() if name != "dealer"}}
    )


def exchanged_approvals(_: str, message: FromGateway) -> FromGateway:
    if not isinstance(message, Start):
        return message
    swapped = {"org-1": message.approvals["org-2"], "org-2": message.approvals["org-1"]}
    return message.model_copy(update={"approvals": {**message.approvals, **swapped}})


def swapped_heads(receiver: str, message: FromGateway) -> FromGateway:
    """A head comes in another participant's name."""
    if not isinstance(message, Offer):
        return message
    other = next(name for name in ("org-0", "org-1", "org-2") if name not in {receiver, message.peer})
    return message.model_copy(update={"peer": other})


def forged_cosignatures(_: str, message: FromGateway) -> FromGateway:
    """A cosignature of another moment."""
    if not isinstance(message, Cosigned):
        return message
    note = parse_note(message.note)
    own, line = note.signatures
    blob = line.blob[:4] + bytes(8) + line.blob[12:]
    return message.model_copy(update={"note": Note(note.text, (own, Signature(line.name, blob))).render()})


def forged_transcripts(_: str, message: FromGateway) -> FromGateway:
    """A transcript with another digest than was signed."""
    if not isinstance(message, SignedTranscript):
        return message
    payload = json.loads(base64.b64decode(message.envelope["payload"])) | {"digest": "0f" * 32}
    forged = {**message.envelope, "payload": base64.b64encode(rfc8785.dumps(payload)).decode()}
    return message.model_copy(update={"envelope": forged})


DEEDS = {
    "swapped-heads": swapped_heads,
    "forged-cosignatures": forged_cosignatures,
    "forged-transcripts": forged_transcripts,
    "swap-key": altered_contract(swap_key),
    "more-iterations": altered_contract(more_iterations),
    "open-more": altered_contract(open_more),
    "dealer-is-a-party": altered_contract(dealer_is_a_party),
    "another-for-org-0": altered_contract(another_for_org_0),
    "old-contract": old_contract,
    "altered-approval": altered_approval,
    "missing-approval": missing_approval,
    "exchanged-approvals": exchanged_approvals,
}


class ModifiedLine:
    """A participant's stream, with the deed done to what goes down it."""

    def __init__(self, name: str, line: Line, deed: Path) -> None:
        self._name, self._line, self._deed = name, line, deed

    def send(self, message: FromGateway) -> None:
        chosen = self._deed.read_text() if self._deed.exists() else ""
        self._line.send(DEEDS[chosen](self._name, message) if chosen else message)

    def close(self) -> None:
        self._line.close()


class ModifiedSessions(Sessions):
    def connected(self, name: str, line: Line, version: str = "") -> None:
        modified = ModifiedLine(name, line, Path(sys.argv[-1]) / DEED)  # the last argument is --home's
        super().connected(name, modified, version)

    def disconnected(self, name: str, line: Line) -> None:
        """The wrapper is what is known here."""
        super().disconnected(name, self._board.lines.get(name, line))


if __name__ == "__main__":
    mock.patch.object(server, "Sessions", ModifiedSessions).start()
    main()

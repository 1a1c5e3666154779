"""Codes of the log in plain words."""

from __future__ import annotations

from typing import Final

from parties.audit import events
from parties.errors import CONTRACT_REASONS, REASONS

_CODES: Final = {
    "cancelled": "the analyst who had asked for the session cancelled it",
    "contract": "the contract, or a signature under it, did not hold",
    "data.too-few-matches": "the parties had fewer records in common than agreed; nobody was told which they are",
    "data": "the data did not fit the contract",
    "engine": "the computation met an error",
    **{f"contract.{reason}": f"the contract did not hold: {why}" for reason, why in CONTRACT_REASONS.items()},
    "engine.commitment": "a party signed that it had sent something else than what came from it",
    "engine.disclosure-refused": "something was to be told that the contract does not allow; nothing was told of it",
    "engine.mask-reuse": "a mask would have been used twice; nothing was sent",
    "engine.peer-lost": "a participant could no longer be reached",
    "engine.program": "the contract's computation is not one that can be run",
    "engine.protocol": "a participant sent something that does not belong into the computation",
    "engine.range": "numbers became too large for the computation",
    "engine.version": "the participants run versions that do not fit together",
    "expired": "the contract's time ran out before all had agreed",
    "gateway": "the gateway reported an error",
    "lifecycle": "a step was asked for that the session's state does not allow",
    "operator": "an operator said no",
    "partner": "a participant's key was not the one that had been confirmed",
    "partner.offered": "a participant's key has handed over to another one, which is not accepted yet",
    "partner.revoked": "a participant's key had been revoked",
    "partner.unknown": "nobody had confirmed a key of one of the participants",
    "plan": "the plan does not hold",
    "policy": "a rule of an organisation's policy forbids it",
    "settings": "a participant's settings do not allow it",
    "vault": "stored data or a stored model could not be used",
    "withdrawn": "a party withdrew its consent",
    "worker": "the computing process ended before its work was done",
}


def reason(code: str) -> str:
    """What a reason code says; a code that is not known stands for itself."""
    kind, _, detail = code.partition(".")
    if kind == "operator" and detail in REASONS:
        return f"the operator's reason: {REASONS[detail]}"
    if kind == "policy" and detail:
        return f"a rule of the organisation's policy forbids it: {detail.replace('-', '_')}"
    return _CODES.get(code) or _CODES.get(kind) or f"reason code {code}"


# What one participant did, who stands in the event's `who` or is this one itself.
_STEPS: Final[dict[type[events.Event], str]] = {
    events.ContractReceived: "the contract came to {own}",
    events.ContractApproved: "{own} signed (decided by {by})",
    events.ContractRefused: "{own} refused (decided by {by})",
    events.ContractExpired: "the contract's time ran out",
    events.DisclosureRefused: "{own} refused to tell what the contract does not allow",
    events.SessionFailed: "the session failed, first at {who}",
    events.SessionCancelled: "the session was ended by {who}",
    events.ModelStored: "{own} put its share of the model away",
    events.DataMatched: "{own} put its common records away as data set {name}",
    events.ModelUsed: "{own} used its share of the model for estimates",
    events.ModelDeleted: "{own} destroyed its share of the model ({by})",
    events.ReplayKept: "{own} put away a sealed recording of what came in",
    events.ReplayDeleted: "{own} destroyed the recording of what came in ({by})",
    events.Replayed: "{own} had its part made again from the recording",
    events.ConsentWithdrawn: "{who} withdrew its consent",
}
_INCIDENTS: Final[dict[type[events.Event], str]] = {
    events.ContractRefused: "{own} refused the contract (decided by {by}): {why}",
    events.ContractExpired: "the contract's time ran out before all had agreed",
    events.ContractReplayed: "the contract came once more after the session had run; {own} refused it",
    events.ContractAltered: "what came in the name of {who} was not the contract, or signature, that had been signed",
    events.PartnerMismatched: "a key came in the name of {name} that is not the one confirmed; it was refused",
    events.DisclosureRefused: "a process of {who} asked to tell {name} beyond the contract; nothing was told",
    events.FrameRefused: "a process of {who} sent, or asked for, {name} where the computation has {expected}; "
    "it was answered nothing",
    events.TranscriptCompared: "the records of all that was opened, at {own} and at {partner}, were not the same",
    events.TranscriptSigned: "{partner} signed another record of what was opened than that of {own}, or a second one",
    events.CommitmentReceived: "what {partner} signed of what it had sent, at stage {stage}, is not what came to {own}",
    events.Replayed: "made again from the recording, the part of {own} was another than it had signed",
    events.SessionFailed: "the session failed, first at {who}: {why}",
    events.SessionCancelled: "the session was ended by {who}: {why}",
    events.ConsentWithdrawn: "{who} withdrew its consent",
}


def step(event: events.Event, own: str) -> str:
    """What a participant did, in words; empty for what is no step of its own."""
    return _phrase(_STEPS, event, own)


def incident(event: events.Event, own: str) -> str:
    """What was refused or did not fit, in words; empty for what is no incident."""
    if getattr(event, "equal", False):  # a comparison is told where it failed
        return ""
    return _phrase(_INCIDENTS, event, own)


def _phrase(phrases: dict[type[events.Event], str], event: events.Event, own: str) -> str:
    said = {field: "something" if value is None else value for field, value in event}
    fields = {"own": own, "why": reason(str(said.get("reason", ""))), **said}
    return phrases.get(type(event), "").format(**fields)

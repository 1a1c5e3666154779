"""A contract in words, one screen: who, what for, and what leaves this organisation."""

from __future__ import annotations

from mpc.fused_program import Fused
from parties.agreement.contract import LEVELS, Contract, Terms
from parties.agreement.kinds import AnyContract
from parties.agreement.leaving import inferences, leaving
from parties.agreement.match_plan import MatchingContract
from parties.agreement.prediction import PredictionContract


def leaves(contract: AnyContract, own: str) -> str:
    """One screen: who, what for, and what leaves `own` organisation."""
    parties = ", ".join(f"{p.name} ({_count(len(p.columns), 'column')})" for p in contract.parties)
    lines = [
        f"session  {contract.digest}",
        f"purpose  {contract.purpose}",
        f"basis    {contract.legal_basis}",
        f"assessed {_assessment(contract)}",
        f"parties  {parties}; dealer {contract.dealer.name}",
        f"schemas  {', '.join(f'{p.name} {p.schema_sha256[:12]}' for p in contract.parties)}",
        *_of_kind(contract),
        f"costs    {contract.quote.words}",
        f"expires  {contract.expires:%Y-%m-%d %H:%M} UTC",
        f"opened   (all else stays {'encrypted' if contract.kind == 'matching' else 'masked'})",
        *_opened(contract, own),
    ]
    return "\n".join(lines)


def tells(contract: AnyContract, own: str) -> str:
    """What others can tell of `own` organisation beyond what is opened."""
    return "\n".join(["others can tell besides", *(f"  - {line}" for line in inferences(contract, own))])


def _opened(contract: Terms, own: str) -> list[str]:
    return [
        f"  {line.clause}: {line.what}: {_count(line.numbers, 'level' if item.name == LEVELS else 'number')},"
        f" {'once' if line.times == 1 else f'{line.times} times'} at most, to {line.to}"
        for item, line in zip(contract.disclosures, leaving(contract, own), strict=True)
    ]


def _count(number: int, of: str) -> str:
    return f"{number} {of}" if number == 1 else f"{number} {of}s"


def _assessment(contract: AnyContract) -> str:
    digest = contract.impact_assessment_sha256
    return f"{contract.impact_assessment or 'no'}{f', SHA-256 {digest}' if digest else ''}"


def _of_kind(contract: AnyContract) -> list[str]:
    if isinstance(contract, Contract):
        return _of_training(contract)
    return _of_matching(contract) if isinstance(contract, MatchingContract) else _of_prediction(contract)


def _of_training(contract: Contract) -> list[str]:
    days = contract.retention.model_days
    return [
        f"label    {contract.label.in_words}",
        f"model    {contract.model.in_words}, {contract.program.max_iter} iterations",
        f"rows     {_rows(contract)}",
        *_validating(contract),
        f"kept     {f'a share of the model at each party, for {days} days' if days else 'no share of the model'}",
        *_recording(contract),
        *(f"prepares {line}" for line in contract.preparation.in_words(contract.parties)),
    ]


def _validating(contract: Contract) -> list[str]:
    """Where columns are weighed by the label: which rows judge, since these may not weigh."""
    program = contract.program
    if not (isinstance(program, Fused) and program.evidence and program.folds):
        return []
    rows = program.rows - program.validating_rows
    return [f"validates {program.folds} folds of every other {program.folds} rows; the other {rows} rows weigh columns"]


def _of_prediction(contract: PredictionContract) -> list[str]:
    return [
        f"predicts by the model of session {contract.model}",
        f"rows     {_new_rows(contract)}",
        f"told     {contract.recipient}, and nobody else: each row's probability",
        *_recording(contract),
        *(f"prepares {line}" for line in contract.preparation.in_words(contract.parties)),
    ]


def _recording(contract: AnyContract) -> list[str]:
    return [f"kept     {contract.recording_in_words}"] if contract.replay_days else []


def _new_rows(contract: PredictionContract) -> str:
    if contract.partition == "columns":
        return f"{contract.program.rows}, the same records everywhere"
    counts = ", ".join(f"{party.name} {party.rows}" for party in contract.parties)
    return f"{contract.program.rows}, which {contract.recipient} has, of the records that are matched: {counts}"


def _of_matching(contract: MatchingContract) -> list[str]:
    lists = ", ".join(f"{p.name} {p.rows} by {' and '.join(p.columns)}" for p in contract.parties)
    told = f"each party, if there are {contract.rules.minimum}: which of its own records all others have"
    if contract.is_estimate:
        least, steps = contract.least_told, contract.program.round_to
        told = f"the session: how many records all have, in steps of {steps}, or that there are fewer than {least}"
    return [
        f"matches  {lists}{_sample(contract)}",
        f"rules    {contract.rules.in_words}",
        f"kept     {contract.kept_in_words}{'' if contract.is_estimate else ', at each party'}",
        *_recording(contract),
        f"told     {told}",
    ]


def _sample(contract: MatchingContract) -> str:
    return f"; of these a random one in {contract.program.one_in}" if contract.is_estimate else ""


def _rows(contract: Contract) -> str:
    if contract.partition == "columns":
        return f"{contract.program.rows} for training, the same records everywhere"
    counts = ", ".join(f"{party.name} {contract.training_rows(party.name)}" for party in contract.parties)
    which = "of each party its own" if contract.partition == "rows" else "each at one of those with the same columns"
    return f"{contract.program.rows} for training, {which}: {counts}"

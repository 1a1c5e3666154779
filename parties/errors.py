"""What can go wrong at an organisation, and who must act.

PrivityError (mpc.errors)
└── PartyError
    ├── SettingsError        a home directory, a settings file or an option      (operator)
    ├── PlanError            the analyst's plan                                  (analyst)
    ├── ContractError        a contract or an approval that does not hold        (whoever sent it)
    ├── PolicyRefusal        this node's policy says no                          (operator)
    ├── OperatorRefusal      this node's operator says no, for one of REASONS    (whoever proposed)
    ├── ConsentWithdrawn     a party of the session, or of its model, withdrew  (nobody: it is over)
    ├── Paused               this node takes no contracts for now                (operator)
    ├── PartnerError         a key that nobody confirmed, or another than was    (operator)
    ├── LifecycleError       a step that the session's state does not allow      (caller)
    ├── DataError            a table, a column, a row                            (data's owner)
    │   └── VaultError       data at rest: missing, altered, wrong key           (operator)
    ├── AuditError           a log that does not verify                          (compliance officer)
    │   ├── ForeignLog       a log of another name or key                        (operator)
    │   └── HeadError        a head, an offer or a cosignature that does not hold (compliance officer)
    ├── TranscriptError      a party's signature on a transcript that doesn't hold (compliance officer)
    ├── PageError            a request that a node's page does not answer        (who made it)
    ├── WorkerFailed         a worker process died or reported an error
    └── GatewayError         the gateway is away or refused a request
"""

from __future__ import annotations

from mpc.errors import PrivityError


class PartyError(PrivityError):
    """With `reason`, one kind of it, which has a code of its own: the class's, a point, and the reason."""

    code = "party"

    def __init__(self, what: str, *, action: str = "", outward: str | None = None, reason: str = "") -> None:
        super().__init__(what, action=action, outward=outward)
        if reason:
            self.code = f"{type(self).code}.{reason}"


class SettingsError(PartyError):
    code = "settings"


class PlanError(PartyError):
    code = "plan"


class ContractError(PartyError):
    """Reasons: see `CONTRACT_REASONS`."""

    code = "contract"


CONTRACT_REASONS = {
    "altered": "what was signed is another contract than this one",
    "data": "a data set is not in the version that the contract names",
    "derived": "its program, quote or list of disclosures is not the one that follows from it",
    "expired": "its time was over",
    "fields": "it has fields that no contract has",
    "form": "it is not in canonical form",
    "key": "it names another key for a participant than that participant's own",
    "party": "it is not for this participant",
    "replayed": "it is that of a session which has run already",
    "schema": "it names another description of a data set than its node published",
    "signature": "a signature under it does not hold",
    "version": "it is of a newer version",
}


class PolicyRefusal(PartyError):
    """A rule of the policy is broken, or the operator said no."""

    code = "policy"

    def __init__(self, what: str, *, action: str = "change the plan, or the policy", rule: str = "") -> None:
        super().__init__(f"rule '{rule}': {what}" if rule else what, action=action)
        self.rule = rule
        if rule:
            self.code = f"{PolicyRefusal.code}.{rule.replace('_', '-')}"


REASONS = {
    "purpose": "it does not agree to the purpose",
    "basis": "it does not accept the legal basis",
    "data": "these data may not be used for it",
    "disclosures": "more would be disclosed than it allows",
    "parties": "it does not work with one of the participants",
    "unstated": "it gave no reason",
}


class OperatorRefusal(PartyError):
    """An operator's no; the reason is one of REASONS, whose code is what logs may hold."""

    code = "operator"

    def __init__(self, name: str, reason: str) -> None:
        """Raises: SettingsError for a reason that is none of REASONS."""
        if reason not in REASONS:
            raise SettingsError(f"'{reason[:40]}' is no reason", action=f"give one of {', '.join(REASONS)}")
        super().__init__(f"the operator of {name} refused: {REASONS[reason]}", action="ask the operator")
        self.code = f"operator.{reason}"  # the reason's own


class ConsentWithdrawn(PartyError):
    code = "withdrawn"

    def __init__(self, name: str, session: str) -> None:
        super().__init__(
            f"{name} withdrew its consent to session {session[:12]}", action="nothing more is done by that session"
        )


class Paused(PartyError):
    code = "paused"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the node of {name} is paused and takes no contracts",
            action="its operator ends that by `privity node resume`",
        )


class PartnerError(PartyError):
    code = "partner"


class LifecycleError(PartyError):
    code = "lifecycle"


class DataError(PartyError):
    code = "data"


class VaultError(DataError):
    code = "vault"


class AuditError(PartyError):
    code = "audit"


class ForeignLog(AuditError):
    """The log is another participant's, or another key signs it."""


class HeadError(AuditError):
    """With `reason`, a partner's refusal of this log's head that holds: `rollback` or `fork`."""

    code = "head"

    def __init__(
        self, what: str, *, action: str = "ask the partner and the gateway's operator", reason: str = ""
    ) -> None:
        super().__init__(what, action=action, reason=reason)


class TranscriptError(PartyError):
    code = "transcript"


class PageError(PartyError):
    code = "page"

    def __init__(self, status: int, what: str, *, action: str = "") -> None:
        super().__init__(what, action=action)
        self.status = status  # of HTTP


class WorkerFailed(PartyError):
    code = "worker"


class GatewayError(PartyError):
    code = "gateway"

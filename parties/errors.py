"""What can go wrong at an organisation, and who must act.

PrivityError (mpc.errors)
└── PartyError
    ├── SettingsError        a home directory, a settings file or an option      (operator)
    ├── PlanError            the analyst's plan                                  (analyst)
    ├── ContractError        a contract or an approval that does not hold        (whoever sent it)
    ├── PolicyRefusal        this node's policy says no                          (operator)
    ├── PartnerError         a key that nobody confirmed, or another than was    (operator)
    ├── LifecycleError       a step that the session's state does not allow      (caller)
    ├── DataError            a table, a column, a row                            (data's owner)
    │   └── VaultError       data at rest: missing, altered, wrong key           (operator)
    ├── AuditError           a log that does not verify                          (compliance officer)
    ├── WorkerFailed         a worker process died or reported an error
    └── GatewayError         the gateway is away or refused a request
"""

from __future__ import annotations

from mpc.errors import PrivityError


class PartyError(PrivityError):
    code = "party"


class SettingsError(PartyError):
    code = "settings"


class PlanError(PartyError):
    code = "plan"


class ContractError(PartyError):
    code = "contract"


class PolicyRefusal(PartyError):
    """A rule of the policy is broken, or the operator said no."""

    code = "policy"

    def __init__(self, what: str, *, action: str = "change the plan, or the policy", rule: str = "") -> None:
        super().__init__(f"rule '{rule}': {what}" if rule else what, action=action)
        self.rule = rule
        if rule:
            self.code = f"{PolicyRefusal.code}.{rule.replace('_', '-')}"


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


class WorkerFailed(PartyError):
    code = "worker"


class GatewayError(PartyError):
    code = "gateway"

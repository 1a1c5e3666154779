"""The coordinator as one account sees it: all that routes are given, so that none can forget to say who asks."""

from __future__ import annotations

from contextlib import AbstractContextManager

from gateway.access.principal import Principal
from gateway.coordination.feed import Watcher
from gateway.coordination.once import Cancelled, Proposed
from gateway.coordination.sessions import Sessions
from gateway.coordination.snapshots import Snapshot
from gateway.planning.estimate import Estimate, Link
from gateway.storage.selection import EVERY, Selection
from gateway.views import ParticipantView
from parties.agreement.kinds import AnyContract, ProposedPlan
from parties.service.messages import Envelope


class SeenSessions:
    """Every method is the coordinator's of that name, by this account."""

    def __init__(self, sessions: Sessions, principal: Principal) -> None:
        self._sessions, self._principal = sessions, principal

    def propose(self, plan: ProposedPlan, key: str | None = None) -> Proposed:
        return self._sessions.propose(plan, self._principal, key)

    def estimate(self, plan: ProposedPlan, link: Link) -> Estimate:
        return self._sessions.estimate(plan, link, self._principal)

    def preview(self, plan: ProposedPlan, link: Link) -> tuple[AnyContract, Estimate]:
        return self._sessions.preview(plan, link, self._principal)

    def plan(self, digest: str) -> ProposedPlan:
        return self._sessions.plan(digest, self._principal)

    def cancel(self, digest: str, key: str | None = None) -> Cancelled:
        return self._sessions.cancel(digest, self._principal, key)

    def sessions(self, selection: Selection = EVERY) -> list[Snapshot]:
        return self._sessions.sessions(self._principal, selection)

    def session(self, digest: str) -> Snapshot:
        return self._sessions.session(digest, self._principal)

    def contract(self, digest: str) -> str:
        return self._sessions.contract(digest, self._principal)

    def agreed(self, digest: str) -> AnyContract:
        return self._sessions.agreed(digest, self._principal)

    def approvals(self, digest: str) -> dict[str, Envelope]:
        return self._sessions.approvals(digest, self._principal)

    def watch(self, digest: str, last_id: str = "") -> AbstractContextManager[Watcher]:
        return self._sessions.watch(digest, self._principal, last_id)

    def names(self) -> list[str]:
        return self._sessions.names()

    def participants(self) -> list[ParticipantView]:
        return self._sessions.participants(self._principal)

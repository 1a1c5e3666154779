"""Accounts: who has personal tokens, making and revoking them, and whom a shown one belongs to.

An account acts for one organisation. What changes tokens is in the audit log before it counts: a change that
`privity gateway token` made beside the daemon is recorded by it within a second, and before the token's first use.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from gateway.access.principal import BOOTSTRAP, CONSORTIUM, Principal, Role
from gateway.access.tokens import PersonalToken
from gateway.coordination.journal import Journal
from gateway.errors import BadToken, KeyReused, NotFound, Unauthorised
from gateway.storage.login_rows import Ended
from gateway.storage.store import Rows, Store
from gateway.storage.token_rows import TokenRecord
from parties.agreement.plan import Frozen, Name, explain
from parties.audit.events import ConsoleClosed, Event, TokenCreated, TokenRevoked
from parties.errors import SettingsError
from parties.keys.tls import utc_now

MAX_DAYS = 366
USUAL_DAYS = 90
NOTED_EVERY = timedelta(minutes=1)  # how exactly it is known when a token was used last
MOST_TOKENS = 100  # of one account that hold at once
AGAIN_S = 1.0  # after which a token that is in use is looked at again
OF_PROVIDER = "oidc-"  # how accounts begin that an identity provider vouches for


class TokenAsked(Frozen):
    """A personal token as it is asked for."""

    account: Name
    organisation: Name
    role: Role
    is_read_only: bool = False
    days: Annotated[int, Field(ge=1, le=MAX_DAYS)] = USUAL_DAYS  # for which it holds


def asked_for(account: str, organisation: str, role: Role, *, is_read_only: bool, days: int) -> TokenAsked:
    """Raises: SettingsError if a name can't be one, or the time is too long."""
    try:
        return TokenAsked(account=account, organisation=organisation, role=role, is_read_only=is_read_only, days=days)
    except ValidationError as exc:
        raise SettingsError(f"no such token can be made: {explain(exc)}", action="mend what is named") from exc


_ENDED_BY: Final[dict[Ended, Literal["operator", "token"]]] = {"ended": "operator", "revoked": "token"}


class Accounts:
    """All personal tokens. Without a journal, beside the daemon, changes are left for it to record."""

    def __init__(
        self,
        store: Store,
        journal: Journal | None,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._journal, self._clock, self._monotonic = store, journal, clock, monotonic
        self._admitted: dict[str, float] = {}  # by token that holds, when to look again

    def create(
        self,
        asked: TokenAsked,
        by: str = BOOTSTRAP.account,
        until: datetime | None = None,
        key: str | None = None,
    ) -> tuple[PersonalToken, TokenRecord]:
        """A fresh token, which is shown this once; it ends by `until` at the latest.

        Under one `key` an account makes one.

        Raises: BadToken if the organisation is unknown, the account another's, or it has as many as it may;
            KeyReused if one was made under the key.
        """
        token, now = PersonalToken.issue(None if key is None else f"{by} {key}"), self._clock()
        record = TokenRecord(
            token.id,
            token.sha256,
            asked.account,
            asked.organisation,
            asked.role,
            asked.is_read_only,
            now,
            by,
            min(now + timedelta(days=asked.days), until or datetime.max.replace(tzinfo=UTC)),
        )
        with self._store.transaction() as rows:
            if key is not None and rows.tokens.find(token.id):
                raise KeyReused(
                    f"the token {token.id} was made under this Idempotency-Key, and its secret was told then alone",
                    action="if the secret is lost, revoke that token and ask again under another key",
                )
            _check(rows, asked, now)
            rows.tokens.add(record)
            self._record(rows, record)
        return token, record

    def revoke(
        self,
        token_id: str,
        by: str = BOOTSTRAP.account,
        *,
        organisation: str | None = None,
        account: str | None = None,
    ) -> TokenRecord:
        """End a token, of this organisation and account if they are named; one that was revoked stays so.

        Raises: NotFound.
        """
        with self._store.transaction() as rows:
            found = rows.tokens.find(token_id)
            if found is None or organisation not in {None, found.organisation} or account not in {None, found.account}:
                raise NotFound("there is no such token", action="see the list of tokens")
            if found.revoked is not None:
                return found
            ended = replace(found, revoked=self._clock(), revoked_by=by)
            rows.tokens.revoke(token_id, by, self._clock())
            rows.logins.end_of(token_id)
            self._record(rows, ended)
        return ended

    def all(self, *, organisation: str | None = None, account: str | None = None) -> list[TokenRecord]:
        """Those of one organisation and one account, if they are named, or all; oldest first."""
        with self._store.reading() as rows:
            return rows.tokens.all(organisation=organisation, account=account)

    def now(self) -> datetime:
        return self._clock()

    def ends(self, token_id: str) -> datetime | None:
        """When a token ends, unless it is revoked before; None for none."""
        with self._store.reading() as rows:
            found = rows.tokens.find(token_id)
        return None if found is None else found.expires

    def principal(self, token: PersonalToken) -> Principal | None:
        """Whom a shown token belongs to; None if it is not one of this gateway's.

        Raises: Unauthorised if it was revoked, or its time is over.
        """
        now = self._clock()
        with self._store.reading() as rows:
            found = rows.tokens.find(token.id)
        if found is None or not secrets.compare_digest(found.sha256, token.sha256):
            return None
        _check_holds(found, now)
        if found.recorded < 1 or found.last_used is None or now - found.last_used >= NOTED_EVERY:
            self._note(found.id, now)
        return found.principal

    def _note(self, token_id: str, now: datetime) -> None:
        """That a token is used; not before it is in the audit log. Raises: Unauthorised if it ended meanwhile."""
        with self._store.transaction() as rows:
            if found := rows.tokens.find(token_id):
                _check_holds(found, now)
                self._record(rows, found)
                rows.tokens.use(token_id, now)

    def holds(self, token_id: str) -> bool:
        """Whether a token is neither revoked nor expired."""
        with self._store.reading() as rows:
            found = rows.tokens.find(token_id)
            return found is not None and found.holds(self._clock())

    def admits(self, principal: Principal) -> bool:
        """Whether somebody who came in may go on; a revoked token is noticed within a second."""
        if not principal.token:
            return True
        if self._admitted.get(principal.token, 0.0) <= self._monotonic():
            self._admitted.pop(principal.token, None)
            if not self.holds(principal.token):
                return False
            self._admitted[principal.token] = self._monotonic() + AGAIN_S
        return True

    def record_all(self) -> None:
        """What was changed beside the daemon, and which logins ended with that."""
        with self._store.reading() as rows:
            pending = bool(rows.tokens.unrecorded() or rows.logins.ended())
        if pending and self._journal is not None:
            with self._store.transaction() as rows:
                for record in rows.tokens.unrecorded():  # again: another gateway may have done it
                    self._record(rows, record)
                for kind, principal in rows.logins.ended():
                    self._journal.append(ConsoleClosed(account=principal.account, by=_ENDED_BY[kind]))
                rows.logins.forget_ended()

    def _record(self, rows: Rows, record: TokenRecord) -> None:
        """What is not in the audit log yet of a token's changes; nothing, beside the daemon."""
        changes = _changes(record)
        if self._journal is None or record.recorded == len(changes):
            return
        for event in changes[record.recorded :]:
            self._journal.append(event)
        rows.tokens.mark_recorded(record.id, len(changes))


def _check_holds(record: TokenRecord, now: datetime) -> None:
    if record.revoked is not None:
        raise Unauthorised(f"the token {record.id} was revoked", action="ask your administrator for another")
    if not record.holds(now):
        raise Unauthorised(
            f"the token {record.id} ended on {record.expires:%Y-%m-%d}", action="ask your administrator for another"
        )


def _check(rows: Rows, asked: TokenAsked, now: datetime) -> None:
    """Raises: BadToken."""
    if asked.organisation != CONSORTIUM and rows.member(asked.organisation) is None:
        raise BadToken(
            f"organisation: there is no '{asked.organisation}'",
            action=f"invite it first, or name {CONSORTIUM} for those who run the gateway",
        )
    if asked.account == BOOTSTRAP.account or asked.account.startswith(OF_PROVIDER):
        raise BadToken(f"account: '{asked.account}' can have no token", action="name another account")
    own = rows.tokens.all(account=asked.account)
    if sum(record.holds(now) for record in own) >= MOST_TOKENS:
        raise BadToken(f"account: '{asked.account}' has {MOST_TOKENS} tokens that hold", action="revoke one of them")
    others = {record.organisation for record in own} - {asked.organisation}
    if others:
        raise BadToken(
            f"account: '{asked.account}' is one of {others.pop()}'s", action="choose another name for this one"
        )


def _changes(record: TokenRecord) -> list[Event]:
    """What the audit log says of a token, in order."""
    created = TokenCreated(
        token=record.id,
        account=record.account,
        organisation=record.organisation,
        role=record.role,
        read_only=record.is_read_only,
        days=(record.expires - record.created).days,
        by=record.created_by,
    )
    if record.revoked is None:
        return [created]
    return [created, TokenRevoked(token=record.id, account=record.account, by=record.revoked_by or BOOTSTRAP.account)]

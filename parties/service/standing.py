"""How a daemon stands, as its operator asks: what waits and for how long, what ends soon, and the room on the disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from parties.agreement.kinds import kind_of
from parties.agreement.plan import Frozen
from parties.errors import VaultError
from parties.service.lifecycle import State
from parties.service.notices import expiring

if TYPE_CHECKING:
    from parties.data.vault import Vault
    from parties.outcome.models import Models
    from parties.service.home import Home
    from parties.service.store import Session, SessionStore

SOON: Final = timedelta(days=7)  # of what ends as agreed; certificates are told of from thirty days before


class Waiting(Frozen):
    """A contract that waits for the operator."""

    session: str
    kind: str
    received: datetime
    age_s: int
    expires: datetime

    @classmethod
    def of(cls, session: Session, now: datetime) -> Self:
        received = datetime.fromisoformat(session.received)
        return cls(
            session=session.digest,
            kind=kind_of(session.contract),
            received=received,
            age_s=max(0, int((now - received).total_seconds())),
            expires=json.loads(session.contract)["expires"],
        )

    def line(self) -> str:
        """For people."""
        return (
            f"{self.session[:12]}  {self.kind} waits for its operator for {duration(self.age_s)}, "
            f"until {self.expires:%Y-%m-%d %H:%M} UTC"
        )


class Ending(Frozen):
    """Something that ends soon, by its own terms."""

    what: Literal["certificate", "model", "data set"]
    name: str  # `own` or `gateway`; the session that left the model; the data set's
    ends: datetime

    def line(self) -> str:
        """For people."""
        return f"{self.what} {self.name[:12]} ends on {self.ends:%Y-%m-%d}"


class Disk(Frozen):
    """Of the file system on which the home lies."""

    free_bytes: int
    total_bytes: int

    @classmethod
    def of(cls, directory: Path) -> Self:
        found = shutil.disk_usage(directory)
        return cls(free_bytes=found.free, total_bytes=found.total)

    def line(self) -> str:
        """For people."""
        return f"{self.free_bytes / 2**30:.1f} GiB free of {self.total_bytes / 2**30:.1f} GiB"


def waiting(store: SessionStore, now: datetime) -> list[Waiting]:
    """What waits for the operator, oldest first."""
    return [Waiting.of(session, now) for session in store.all([State.PROPOSED])]


def ending_certificates(home: Home, now: datetime) -> Iterator[Ending]:
    for one in expiring(home, now):
        yield Ending(what="certificate", name=one.certificate, ends=one.ends)


def ending_data(models: Models, vault: Vault, now: datetime) -> Iterator[Ending]:
    """A node's shares of models and matched data sets; damaged ones are left out. Cost: reads each."""
    for session in models.list():
        with suppress(VaultError):
            if (ends := models.load(session).expires) <= now + SOON:
                yield Ending(what="model", name=session, ends=ends)
    for name in vault.list():
        with suppress(VaultError):
            origin = vault.manifest(name).origin
            if origin is not None and origin.until <= now + SOON:
                yield Ending(what="data set", name=name, ends=origin.until)


def duration(seconds: int) -> str:
    """In the two largest units that it has."""
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def lines(status: dict[str, Any]) -> Iterator[str]:
    """A daemon's answer to `status`, for people."""
    yield f"{status['name']} runs; the gateway is {'connected' if status['gateway'] else 'NOT connected'}"
    if status["page"]:
        yield f"its page is at {status['page']}; `privity node login` gives a link"
    for notice in status["notices"]:
        yield f"NOTE: {notice}"
    yield f"disk: {Disk.model_validate(status['disk']).line()}"
    for one in status["waiting"]:
        yield Waiting.model_validate(one).line()
    for one in status["ends_soon"]:
        yield Ending.model_validate(one).line()
    for digest, state in status["sessions"].items():
        yield f"  {digest[:12]}  {state}"

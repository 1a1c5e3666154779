"""What a daemon remembers of log heads: those of others that it cosigned, and its own that others cosigned.

A head is remembered, durably and by compare-and-swap, before its cosignature leaves: so no two heads of one log that do
not continue each other are ever cosigned here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import BigInteger, Column, MetaData, String, Table, delete, insert, select, update

from parties.service.store import open_engine

_METADATA = MetaData()
_WITNESSED = Table(  # parties.audit.witnesses reads these too
    "heads_witnessed",
    _METADATA,
    Column("name", String, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("note", String, nullable=False),
)
_COSIGNED = Table(
    "heads_cosigned",
    _METADATA,
    Column("name", String, primary_key=True),
    Column("public_key", String, primary_key=True),
    Column("note", String, nullable=False),
)


@dataclass(frozen=True)
class Witnessed:
    """The last head of a partner's log that was cosigned here, and the time of the last offer that was answered."""

    at: int  # microseconds, the partner's clock
    note: str


@dataclass(frozen=True)
class CosignedNote:
    """A head of the own log with a partner's cosignature, and the partner's key."""

    name: str
    public_key: bytes
    note: str


class Heads:
    """Rows in a daemon's state file."""

    def __init__(self, path: Path) -> None:
        self._engine = open_engine(path, _METADATA)

    def witnessed(self, name: str) -> Witnessed | None:
        with self._engine.begin() as connection:
            row = connection.execute(select(_WITNESSED).where(_WITNESSED.c.name == name)).one_or_none()
        return None if row is None else Witnessed(row.at, row.note)

    def advance(self, name: str, known: Witnessed | None, head: Witnessed) -> bool:
        """Remember `head` if `known` is what is remembered; durable once it returns. Whether it was so."""
        with self._engine.begin() as connection:
            if known is None:
                held = connection.execute(select(_WITNESSED.c.name).where(_WITNESSED.c.name == name)).one_or_none()
                if held is not None:
                    return False
                connection.execute(insert(_WITNESSED).values(name=name, at=head.at, note=head.note))
                return True
            changed = connection.execute(
                update(_WITNESSED)
                .where(_WITNESSED.c.name == name, _WITNESSED.c.at == known.at, _WITNESSED.c.note == known.note)
                .values(at=head.at, note=head.note)
            )
            return changed.rowcount == 1

    def forget(self, name: str) -> None:
        """A partner was removed: whoever comes under its name later has another log."""
        with self._engine.begin() as connection:
            connection.execute(delete(_WITNESSED).where(_WITNESSED.c.name == name))

    def cosigned(self) -> list[CosignedNote]:
        """The newest head by each partner's key."""
        wanted = select(_COSIGNED).order_by(_COSIGNED.c.name, _COSIGNED.c.public_key)
        with self._engine.begin() as connection:
            rows = connection.execute(wanted).all()
        return [CosignedNote(row.name, bytes.fromhex(row.public_key), row.note) for row in rows]

    def keep(self, cosigned: CosignedNote) -> None:
        """In the place of the one by the same key."""
        key = {"name": cosigned.name, "public_key": cosigned.public_key.hex()}
        with self._engine.begin() as connection:
            held = update(_COSIGNED).where(*(_COSIGNED.c[column] == value for column, value in key.items()))
            if connection.execute(held.values(note=cosigned.note)).rowcount == 0:
                connection.execute(insert(_COSIGNED).values(**key, note=cosigned.note))

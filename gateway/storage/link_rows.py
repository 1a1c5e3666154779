"""Connections between participants, as the kernels of their machines measured them in their last session."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, ForeignKey, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from gateway.planning.estimate import Measured
from gateway.storage.tables import Base
from parties.service.messages import MeasuredLink


class LinkRow(Base):
    __tablename__ = "links"
    name: Mapped[str] = mapped_column(ForeignKey("participants.name"), primary_key=True)  # who measured
    other: Mapped[str] = mapped_column(ForeignKey("participants.name"), primary_key=True)
    round_trip_us: Mapped[int] = mapped_column(BigInteger)
    bytes_a_second: Mapped[int | None] = mapped_column(BigInteger)  # where it was kept busy, then or before


class Links:
    """The rows of connections, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def measure(self, name: str, link: MeasuredLink) -> None:
        """Keep what one measured. A rate stays until another is known."""
        row = self._session.get(LinkRow, (name, link.name)) or LinkRow(name=name, other=link.name)
        row.round_trip_us = link.round_trip_us
        row.bytes_a_second = link.bytes_a_second or row.bytes_a_second
        self._session.add(row)

    def slowest(self, names: Sequence[str]) -> Measured:
        """The longest round trip among these, and the narrowest rate, as far as they are known."""
        among = LinkRow.name.in_(names) & LinkRow.other.in_(names)
        found = select(func.max(LinkRow.round_trip_us), func.min(LinkRow.bytes_a_second)).where(among)
        return Measured(*self._session.execute(found).one())

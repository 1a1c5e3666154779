"""What several gateways on one database share: who is connected to which of them, and what they tell each other.

A post is written in the transaction of the step that it follows from, and taken by the gateway that it is for. Since
steps follow one another, posts come in the order of the steps.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, delete, func, select, text, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from gateway.storage.tables import Base
from parties.agreement.plan import Frozen
from parties.service.messages import Fault, FromGateway, Progress

Number = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up none but its own integers
CHANNEL = "privity_"  # PostgreSQL's; with a gateway's id


class GatewayRow(Base):
    __tablename__ = "gateways"
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    beat: Mapped[int]  # counted up as long as it lives


class ConnectionRow(Base):
    __tablename__ = "connections"
    name: Mapped[str] = mapped_column(ForeignKey("participants.name"), primary_key=True)
    gateway: Mapped[str] = mapped_column(ForeignKey("gateways.id", ondelete="CASCADE"), index=True)


class PostRow(Base):
    __tablename__ = "posts"
    id: Mapped[int] = mapped_column(Number, primary_key=True)
    gateway: Mapped[str] = mapped_column(ForeignKey("gateways.id", ondelete="CASCADE"), index=True)
    content: Mapped[str]


class RelayedRow(Base):
    __tablename__ = "relayed"
    id: Mapped[int] = mapped_column(Number, primary_key=True)
    receiver: Mapped[str] = mapped_column(ForeignKey("participants.name"))
    sender: Mapped[str] = mapped_column(ForeignKey("participants.name"))
    slot: Mapped[str]
    content: Mapped[str]
    __table_args__ = (Index("ix_relayed_slot", "receiver", "sender", "slot", unique=True),)


class Passed(Frozen):
    """A message for a participant whose stream the other gateway has."""

    type: Literal["passed"] = "passed"
    name: str
    message: FromGateway


class Moved(Frozen):
    """A participant has a newer stream elsewhere."""

    type: Literal["moved"] = "moved"
    name: str


class Stands(Frozen):
    """Where a session stands now, for watchers."""

    type: Literal["stands"] = "stands"
    session: str
    view: dict[str, Any]
    final: bool


class Progressed(Frozen):
    """How far a participant's worker is, for watchers."""

    type: Literal["progressed"] = "progressed"
    who: str
    progress: Progress


class Missed(Frozen):
    """A participant lost sight of another."""

    type: Literal["missed"] = "missed"
    session: str
    who: str
    fault: Fault


Post = Annotated[Passed | Moved | Stands | Progressed | Missed, Field(discriminator="type")]
_POST: TypeAdapter[Post] = TypeAdapter(Post)


class Neighbours:
    """The rows of gateways, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def enter(self, gateway: str, name: str) -> None:
        self._session.add(GatewayRow(id=gateway, name=name, beat=0))
        self._session.flush()

    def counts(self, gateway: str) -> bool:
        """Whether the others count on it: they have not given it up."""
        return self._session.get(GatewayRow, gateway) is not None

    def beat(self, gateway: str) -> None:
        self._session.execute(update(GatewayRow).where(GatewayRow.id == gateway).values(beat=GatewayRow.beat + 1))

    def beats(self) -> dict[str, int]:
        """Of all gateways."""
        found = self._session.execute(select(GatewayRow.id, GatewayRow.beat))
        return {row.id: row.beat for row in found}

    def bury(self, gateway: str) -> None:
        """Forget a gateway, its connections and what was for it."""
        self._session.execute(delete(GatewayRow).where(GatewayRow.id == gateway))

    def present(self) -> dict[str, str]:
        """Who is connected, and to which gateway."""
        found = self._session.execute(select(ConnectionRow.name, ConnectionRow.gateway))
        return {row.name: row.gateway for row in found}

    def connect(self, name: str, gateway: str) -> None:
        self._session.merge(ConnectionRow(name=name, gateway=gateway))
        self._session.flush()

    def disconnect(self, name: str, gateway: str) -> None:
        """Nothing, if it is connected elsewhere by now."""
        self._session.execute(delete(ConnectionRow).where(ConnectionRow.name == name, ConnectionRow.gateway == gateway))

    def post(self, gateway: str, *posts: Post) -> None:
        """Leave posts for another gateway and wake it; nothing, if it is gone by then."""
        if posts and self.counts(gateway):
            self._session.add_all(PostRow(gateway=gateway, content=post.model_dump_json()) for post in posts)
            self._session.flush()
            self._session.execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL + gateway})

    def has_posts(self, gateway: str) -> bool:
        """Whether something is left for a gateway."""
        return self._session.scalar(select(PostRow.id).where(PostRow.gateway == gateway).limit(1)) is not None

    def take(self, gateway: str) -> list[tuple[int, Post]]:
        """What was left for a gateway, numbered, in order."""
        found = self._session.execute(
            delete(PostRow).where(PostRow.gateway == gateway).returning(PostRow.id, PostRow.content)
        )
        return sorted(((number, _POST.validate_json(content)) for number, content in found), key=lambda one: one[0])

    def keep_relayed(self, receiver: str, sender: str, slot: str, content: str, limit: int) -> None:
        """The newest of each slot waits, and of one sender's the newest `limit`."""
        mine = (RelayedRow.receiver == receiver, RelayedRow.sender == sender)
        self._session.execute(delete(RelayedRow).where(*mine, RelayedRow.slot == slot))
        self._session.add(RelayedRow(receiver=receiver, sender=sender, slot=slot, content=content))
        self._session.flush()
        newest = select(RelayedRow.id).where(*mine).order_by(RelayedRow.id.desc()).limit(limit)
        self._session.execute(delete(RelayedRow).where(*mine, RelayedRow.id.not_in(newest)))

    def take_relayed(self, receiver: str) -> list[str]:
        """What waited for somebody, in order."""
        found = self._session.execute(
            delete(RelayedRow).where(RelayedRow.receiver == receiver).returning(RelayedRow.id, RelayedRow.content)
        )
        return [content for _, content in sorted((number, content) for number, content in found)]

    def count_relayed(self) -> int:
        return self._session.scalar(select(func.count()).select_from(RelayedRow)) or 0

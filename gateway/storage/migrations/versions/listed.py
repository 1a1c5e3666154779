"""Sessions are found by kind and by participant without reading their contracts, and in order without sorting."""

import json

import sqlalchemy as sa
from alembic import op

revision = "listed"
down_revision = "first"


def upgrade() -> None:
    """Fill what is new from the contracts."""
    taking_part = op.create_table(
        "taking_part",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("session", sa.String(64), sa.ForeignKey("sessions.digest"), primary_key=True),
    )
    op.add_column("sessions", sa.Column("kind", sa.String(16), nullable=False, server_default="training"))
    sessions = sa.table("sessions", sa.column("digest"), sa.column("kind"), sa.column("contract"))
    connection = op.get_bind()
    for digest, text in connection.execute(sa.select(sessions.c.digest, sessions.c.contract)).all():
        contract = json.loads(text)
        connection.execute(sessions.update().where(sessions.c.digest == digest).values(kind=contract["kind"]))
        names = {one["name"] for one in (*contract["parties"], contract["dealer"])}
        connection.execute(taking_part.insert(), [{"name": name, "session": digest} for name in sorted(names)])
    for index in ("ix_sessions_state", "ix_sessions_created"):
        op.drop_index(index, "sessions")
    op.create_index("ix_sessions_newest", "sessions", ["created", "digest"])
    op.create_index("ix_sessions_of_state", "sessions", ["state", "created", "digest"])
    op.create_index("ix_sessions_expires", "sessions", ["expires"])

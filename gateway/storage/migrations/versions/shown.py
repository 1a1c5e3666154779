"""Pages are made without reading all sessions or a contract, and all gateways on the database show the same.

Purposes, kinds, partners and a count of changes; browsers' logins, who connected when, and heads as they were cosigned.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "shown"
down_revision = "several"


def upgrade() -> None:
    """Fill purposes from the contracts, partners from who takes part and who proposed."""
    op.add_column("sessions", sa.Column("purpose", sa.Text, nullable=False, server_default=""))
    op.add_column("sessions", sa.Column("changes", sa.Integer, nullable=False, server_default="0"))
    sessions = sa.table("sessions", sa.column("digest"), sa.column("purpose"), sa.column("contract"))
    connection = op.get_bind()
    for digest, text in connection.execute(sa.select(sessions.c.digest, sessions.c.contract)).all():
        purpose = json.loads(text)["purpose"]
        connection.execute(sessions.update().where(sessions.c.digest == digest).values(purpose=purpose))
    op.drop_index("ix_sessions_newest", "sessions")
    op.create_index("ix_sessions_newest", "sessions", ["created", "digest", "purpose"])
    op.create_index("ix_sessions_of_kind", "sessions", ["kind", "created", "digest"])
    op.create_table(
        "partners",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("other", sa.String(64), primary_key=True),
    )
    op.execute(
        "INSERT INTO partners (name, other)"
        " SELECT one.name, two.name FROM taking_part AS one JOIN taking_part AS two ON one.session = two.session"
        " UNION SELECT sessions.proposer, two.name FROM sessions JOIN taking_part AS two"
        " ON sessions.digest = two.session WHERE sessions.proposer IS NOT NULL"
    )
    op.create_table(
        "logins",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("until", sa.String(32), nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
    )
    op.create_index("ix_logins_of_kind", "logins", ["kind", "until"])
    op.add_column("participants", sa.Column("version", sa.Text))
    op.add_column("participants", sa.Column("since", sa.String(32)))
    op.add_column("participants", sa.Column("left", sa.String(32)))
    op.create_table(
        "cosigned",
        sa.Column("log", sa.String(64), sa.ForeignKey("participants.name"), primary_key=True),
        sa.Column("cosigner", sa.String(64), sa.ForeignKey("participants.name"), primary_key=True),
        sa.Column("note", sa.Text, nullable=False),
    )

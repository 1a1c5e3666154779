"""Several gateways on one database: who is connected to which, what they tell each other, what waits for whom."""

import sqlalchemy as sa
from alembic import op

revision = "several"
down_revision = "access"

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """All tables are new and begin empty."""
    op.create_table(
        "gateways",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("beat", sa.Integer, nullable=False),
    )
    op.create_table(
        "connections",
        sa.Column("name", sa.String(64), sa.ForeignKey("participants.name"), primary_key=True),
        sa.Column(
            "gateway", sa.String(16), sa.ForeignKey("gateways.id", ondelete="CASCADE"), nullable=False, index=True
        ),
    )
    op.create_table(
        "posts",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column(
            "gateway", sa.String(16), sa.ForeignKey("gateways.id", ondelete="CASCADE"), nullable=False, index=True
        ),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "relayed",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("receiver", sa.String(64), sa.ForeignKey("participants.name"), nullable=False),
        sa.Column("sender", sa.String(64), sa.ForeignKey("participants.name"), nullable=False),
        sa.Column("slot", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_index("ix_relayed_slot", "relayed", ["receiver", "sender", "slot"], unique=True)
    op.create_table(
        "waiting",
        sa.Column("session", sa.String(64), sa.ForeignKey("sessions.digest"), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
    )

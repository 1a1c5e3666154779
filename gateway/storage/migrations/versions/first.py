"""The tables as they were before there were revisions."""

import sqlalchemy as sa
from alembic import op

revision = "first"
down_revision = None


def upgrade() -> None:
    """Make them all."""
    op.create_table(
        "participants",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("authority", sa.Text, nullable=False),
        sa.Column("invited", sa.String(32), nullable=False),
        sa.Column("recorded", sa.Boolean, nullable=False),
        sa.Column("joined", sa.String(32)),
        sa.Column("public_key", sa.Text),
        sa.Column("certificate_sha256", sa.Text),
        sa.Column("head", sa.Text),
    )
    op.create_table(
        "data_sets",
        sa.Column("owner", sa.String(64), sa.ForeignKey("participants.name"), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("published", sa.Text, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("created", sa.String(32), nullable=False, index=True),
        sa.Column("expires", sa.String(32), nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("contract", sa.Text, nullable=False),
        sa.Column("fault", sa.Text),
    )
    for table in ("approvals", "withdrawals", "progress", "reports"):
        op.create_table(
            table,
            sa.Column("session", sa.String(64), sa.ForeignKey("sessions.digest"), primary_key=True),
            sa.Column("name", sa.String(64), primary_key=True),
            sa.Column("content", sa.Text, nullable=False),
        )
    op.create_table(
        "keyed_proposals",
        sa.Column("key_sha256", sa.String(64), primary_key=True),
        sa.Column("plan_sha256", sa.Text, nullable=False),
        sa.Column("session", sa.String(64), sa.ForeignKey("sessions.digest"), nullable=False),
        sa.Column("at", sa.String(32), nullable=False, index=True),
    )

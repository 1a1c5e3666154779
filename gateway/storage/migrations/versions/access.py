"""Personal tokens, and who proposed each session."""

import sqlalchemy as sa
from alembic import op

revision = "access"
down_revision = "listed"


def upgrade() -> None:
    """Of the sessions that are there it is not known who proposed them."""
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(12), primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("account", sa.String(64), nullable=False, index=True),
        sa.Column("organisation", sa.String(64), nullable=False, index=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("is_read_only", sa.Boolean, nullable=False),
        sa.Column("created", sa.String(32), nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("expires", sa.String(32), nullable=False),
        sa.Column("last_used", sa.String(32)),
        sa.Column("revoked", sa.String(32)),
        sa.Column("revoked_by", sa.String(64)),
        sa.Column("recorded", sa.Integer, nullable=False),
    )
    op.add_column("sessions", sa.Column("proposer", sa.String(64)))
    op.create_index("ix_sessions_proposer", "sessions", ["proposer"])

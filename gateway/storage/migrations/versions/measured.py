"""Connections between participants, as their kernels measured them."""

import sqlalchemy as sa
from alembic import op

revision = "measured"
down_revision = "shown"


def upgrade() -> None:
    op.create_table(
        "links",
        sa.Column("name", sa.String(64), sa.ForeignKey("participants.name"), primary_key=True),
        sa.Column("other", sa.String(64), sa.ForeignKey("participants.name"), primary_key=True),
        sa.Column("round_trip_us", sa.BigInteger, nullable=False),
        sa.Column("bytes_a_second", sa.BigInteger),
    )

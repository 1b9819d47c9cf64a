"""When each job ran last, and its runs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "scheduler_jobs",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("schedule", sa.String(500), nullable=False),
        sa.Column("since", moment, nullable=False),
        sa.Column("last_at", moment, nullable=True),
        sa.Column("pending_at", moment, nullable=True),
        sa.Column("pending_missed", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("requested_at", moment, nullable=True),
        sa.Column("paused_at", moment, nullable=True),
    )
    op.create_table(
        "scheduler_runs",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("job", sa.String(200), nullable=False),
        sa.Column("fire_at", moment, nullable=False),
        sa.Column("key", sa.String(500), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("outcome", sa.String(500), nullable=False),
        sa.Column("missed", sa.Integer, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.String(200), nullable=False),
        sa.Column("started_at", moment, nullable=False),
        sa.Column("ended_at", moment, nullable=True),
        sa.Column("seconds", sa.Float, nullable=True),
    )
    op.create_index("scheduler_runs_job", "scheduler_runs", ["job", "started_at"])
    op.create_index("scheduler_runs_started", "scheduler_runs", ["started_at"])

"""What is audited leaves an entry when it begins; the one at its end says which that was."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("audit", sa.Column("start", sa.BigInteger, nullable=True))
    op.create_index("ix_audit_start", "audit", ["start"])

"""Scopes, what was replaced in them, and the handles that open them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
MOMENT = sa.DateTime(timezone=True)


def _scope() -> sa.ForeignKey:
    return sa.ForeignKey("redaction_scopes.id", ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "redaction_scopes",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("name", sa.LargeBinary, nullable=True, unique=True),  # a keyed digest
        sa.Column("key", sa.String(16), nullable=False, index=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("ends_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False, index=True),
    )
    op.create_table(
        "redaction_handles",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("scope", NUMBER, _scope(), nullable=False, index=True),
        sa.Column("forms", sa.Text, nullable=True),  # numbers of forms; null: all of the scope
    )
    op.create_table(
        "redaction_forms",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("scope", NUMBER, _scope(), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("part", sa.String(20), nullable=False),
        sa.Column("variant", sa.Integer, nullable=False),
        sa.Column("entity", sa.LargeBinary, nullable=False),  # keyed digests
        sa.Column("written", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("scope", "kind", "number", "part", "variant"),
        sa.UniqueConstraint("scope", "written"),
    )
    gate = op.create_table("redaction_gate", sa.Column("id", sa.Integer, primary_key=True))
    op.bulk_insert(gate, [{"id": 1}])

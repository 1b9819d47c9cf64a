"""Who is who: entities, their members, links between records, and what people decided."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def _pair() -> list[sa.Column[str]]:
    return [
        sa.Column("a_kind", sa.String(100), primary_key=True),
        sa.Column("a_id", sa.String, primary_key=True),
        sa.Column("b_kind", sa.String(100), primary_key=True),
        sa.Column("b_id", sa.String, primary_key=True),
    ]


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "entity_runs",
        sa.Column("id", number, primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("records", sa.BigInteger, nullable=True),
    )
    op.create_table(
        "entities",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("kept_by", sa.String(40), nullable=True, index=True),
    )
    op.create_table(
        "entity_members",
        sa.Column("kind", sa.String(100), primary_key=True),
        sa.Column("record_id", sa.String, primary_key=True),
        sa.Column("entity", sa.String(40), nullable=False, index=True),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("facts", sa.JSON, nullable=True),
        sa.Column("changed", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "entity_links",
        *_pair(),
        sa.Column("run", sa.BigInteger, nullable=False, index=True),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("weight", sa.Float, nullable=False),
        sa.Column("doubt", sa.String, nullable=True),
        sa.Column("reasons", sa.JSON, nullable=False),
    )
    op.create_index("entity_links_back", "entity_links", ["b_kind", "b_id"])
    op.create_table(
        "entity_decisions",
        *_pair(),
        sa.Column("verdict", sa.String(10), nullable=False),
        sa.Column("decided_by", sa.String(200), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("entity_decisions_back", "entity_decisions", ["b_kind", "b_id"])

"""A conversation under legal hold: no checkpoint of it is deleted for its age."""

from alembic import op

revision = "tenant_0002"
down_revision = "tenant_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the hold and its reason."""
    op.execute("ALTER TABLE conversations ADD COLUMN legal_hold_reason text")

"""What alembic runs its revisions in: the connection, and the transaction, of whoever asks for them."""

from __future__ import annotations

from alembic import context

from cloud_worker.state.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()

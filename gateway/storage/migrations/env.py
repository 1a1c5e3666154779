"""What alembic runs for a command: the revisions, on the connection and in the transaction that it was given."""

from alembic import context

from gateway.storage.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, transactional_ddl=False
)
context.run_migrations()

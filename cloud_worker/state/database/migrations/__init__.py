"""How a fleet's database of an older version becomes one of this version: alembic's environment and revisions."""

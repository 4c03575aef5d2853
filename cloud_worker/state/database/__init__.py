"""How the fleet's state lies on a database: SQLite files or a PostgreSQL, and the revisions of its schema."""

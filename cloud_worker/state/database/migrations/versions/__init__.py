"""One module for each revision of the schema, the oldest first; none imports anything of the package."""

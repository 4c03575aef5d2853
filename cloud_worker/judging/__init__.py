"""Judges that need a model."""

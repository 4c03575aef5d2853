"""``cloud.toml``, read and checked."""

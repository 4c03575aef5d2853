"""The teachers as a pool: served, asked in batches, cheaper ones first where that is proved."""

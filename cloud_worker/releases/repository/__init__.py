"""What signs releases: keys, roles and their metadata, as The Update Framework (TUF) has them."""

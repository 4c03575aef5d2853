"""What operators do with the keys that sign releases, and with what is signed."""

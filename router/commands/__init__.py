"""``headrace``'s commands, and what every command of ours has in common."""

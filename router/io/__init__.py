"""Files, settings and the terminal."""

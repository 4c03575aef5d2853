"""One question per file; the last line of output is one JSON object."""

"""What becomes of one query: kept or sent, explored or not, within what may be spent."""

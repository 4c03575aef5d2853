"""The students of a replay: how each is fitted on rows of a log, read, and kept."""

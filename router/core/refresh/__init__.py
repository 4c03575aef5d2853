"""The refresh loop as a pure step: what is done with new rows of the log, for the cloud and for a replay alike."""

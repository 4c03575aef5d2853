"""Erases what concerns a device or a subject, from spools, log, state and releases. Only the log's writer does."""

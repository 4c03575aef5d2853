"""Logs as other programs write them, read as queries and answers."""

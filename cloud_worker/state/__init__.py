"""The fleet's state in SQL."""

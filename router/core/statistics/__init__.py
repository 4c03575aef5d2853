"""Bounds that hold: intervals, e-processes, and how many rows a proof takes."""

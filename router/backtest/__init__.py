"""Replay a log of a large model's answers through the whole loop: reading, students, replay, figures, report.

Nothing here imports Ray or torch. ``cli.py`` imports the rest only when a replay is asked for.
"""

"""Log -> challenger -> certificate -> release. Start at ``refresher.py``."""

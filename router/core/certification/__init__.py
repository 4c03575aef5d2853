"""Proves a promise of a release, and watches it while the release serves."""

"""Releases in their folder: published, their certificates, and which one serves when one falls."""

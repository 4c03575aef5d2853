"""Brings releases to the fleet in steps, and back."""

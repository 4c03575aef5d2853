"""Fits students and exports them."""

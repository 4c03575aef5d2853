"""A release as data: its manifest, and the orders to run it."""

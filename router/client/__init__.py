"""Asks a device or a cluster, from a program."""

"""Rollouts: a release on its way to a growing share of the fleet."""

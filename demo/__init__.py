"""The whole loop on one machine, as real processes."""

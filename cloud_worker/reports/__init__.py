"""What an operator is shown: the promise, the devices, the limits, in words, tables and metrics."""

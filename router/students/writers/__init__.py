"""How a small language model writes: the same code on a device and in the cloud."""

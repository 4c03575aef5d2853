"""How a release gets onto a device: fetched, tried in a process of its own, put in place."""

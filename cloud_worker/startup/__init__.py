"""``up``: what is checked first, what is started, and what a killed one has left."""

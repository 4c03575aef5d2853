"""Where an agent gets what it installs: from its gateway, or from a mirror."""

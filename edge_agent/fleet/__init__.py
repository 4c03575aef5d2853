"""A device's side of the fleet: it reports, and hears its orders."""

"""How a query is answered on a device: by its student, by the next tier, or degraded."""

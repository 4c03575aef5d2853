"""The tasks that a device serves: their releases, the orders in force, the figures, what may still be sent."""

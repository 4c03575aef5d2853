"""What goes over the network: messages, channels, servers, their limits and their telemetry."""

"""What goes over a line: messages, channels, servers, their limits and their telemetry."""

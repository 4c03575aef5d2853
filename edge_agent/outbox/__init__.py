"""What the cloud has yet to hear, kept on disk until it has."""

"""The outbox: what the cloud has yet to hear, kept on disk until it has."""

"""The contract on the wire, generated from ``proto/router/v1``."""

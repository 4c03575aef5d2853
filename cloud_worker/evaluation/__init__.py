"""``evaluate``: what chains of given models would do on answers that are known."""

"""What the daemon is made of, each part put together apart: folder, state on disk, service, description, state told."""

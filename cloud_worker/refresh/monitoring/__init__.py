"""What is watched beside the certificates: whether rows come, the inputs, the reference; told, and never decided by."""

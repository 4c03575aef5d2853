"""What is believed of a release: the repository's metadata, by whom it is signed, and what it says."""

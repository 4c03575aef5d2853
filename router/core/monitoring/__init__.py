"""What else is watched: drift, complaints, the reference itself, and what devices say."""

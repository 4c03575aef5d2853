"""TLS: what doors and channels show, who calls, and who may."""

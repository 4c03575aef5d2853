"""The cluster's door: answers what devices and clients ask."""

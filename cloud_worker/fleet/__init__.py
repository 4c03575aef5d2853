"""The fleet's door: devices report and hear their orders."""

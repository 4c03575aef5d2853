"""Small fits: heads, calibration, and which rows teach."""

"""Least squares with bounds on x, sums of magnitudes and total variation."""

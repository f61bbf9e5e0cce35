"""Files and stores: matrices and images that are written in jobs, and read piece by piece."""

"""Linear maps: the base of all of them, their algebra, and each kind in a file of its own."""

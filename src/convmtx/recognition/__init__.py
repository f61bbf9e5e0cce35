"""Backwards: from a matrix or a function to the convolution that it is."""

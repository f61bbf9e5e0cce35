"""From a matrix or a function back to the convolution that it is."""

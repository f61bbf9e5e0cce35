"""Geometry, kernel and input to output: the ways to apply a map without its matrix."""

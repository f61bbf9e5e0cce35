"""Layers of other libraries as maps, and maps as theirs: one file for each, which imports its library lazily."""

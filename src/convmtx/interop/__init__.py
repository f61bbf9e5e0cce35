"""Layers of other libraries as maps, and maps as theirs: one file or folder for each library, which imports it late."""

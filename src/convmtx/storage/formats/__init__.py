"""Formats of files, one in each file: how matrices are laid out and written, and read from files that are not trusted.

Nothing in a file is executed, and nothing is allocated that a file only claims to contain.
"""

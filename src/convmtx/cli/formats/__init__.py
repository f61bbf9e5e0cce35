"""Kernels and pictures in files that are not trusted; those of matrices are in `convmtx.storage`.

`arrays` reads kernels, whatever the format; each other file is one format. Nothing in a file is executed, and nothing
is allocated that a file only claims to contain.
"""

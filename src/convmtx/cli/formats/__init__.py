"""File formats: how kernels, pictures and matrices are read from files that are not trusted, and written.

`arrays` reads kernels and `matrices` reads and writes matrices, whatever the format; each other file is one format.
Nothing in a file is executed, and nothing is allocated that a file only claims to contain.
"""

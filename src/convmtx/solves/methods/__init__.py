"""Methods of least squares: by structure, by factors of the matrix, or by iteration; `select` lists them all."""

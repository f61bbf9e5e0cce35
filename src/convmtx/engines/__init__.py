"""Apply a map without its matrix: geometry, kernel and input to output."""

"""One file for each command: its texts, its arguments, and what it runs, which are calls of exported functions."""

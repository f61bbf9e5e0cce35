"""The nouns: linear maps between arrays, and everything that is one."""

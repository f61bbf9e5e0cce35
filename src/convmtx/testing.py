"""Assertions for tests of other projects."""

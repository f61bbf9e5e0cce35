"""Residual and size of the solution as functions of the damping, and the rules that choose one."""

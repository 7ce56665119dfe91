"""Checks of exported files: census, parity, the ladder, edge identity, the plan, other CPUs."""

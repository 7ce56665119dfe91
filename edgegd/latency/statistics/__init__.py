"""The statistics of gates: signed-rank test, sequential test, verdicts."""

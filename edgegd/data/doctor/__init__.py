"""A doctor for data sets: what in images and labels would spoil a training, or what is measured after it."""

from edgegd.data.doctor.finding import Finding, Severity
from edgegd.data.doctor.registry import CHECKS, Examination, examine

__all__ = ["CHECKS", "Examination", "Finding", "Severity", "examine"]

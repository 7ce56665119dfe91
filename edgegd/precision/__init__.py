"""Precision by measurement: times and sensitivities of single operations, and the plans that follow from them."""

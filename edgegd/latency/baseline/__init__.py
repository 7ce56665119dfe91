"""Baselines under version control, and their history."""

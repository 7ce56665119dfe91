"""Paired latency: launches, quads of blocks, raw data."""

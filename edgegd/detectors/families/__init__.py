"""What differs between kinds of detectors: one module a family, and one registry that everything else asks."""

"""Gates: relative, absolute, static; the calibration of a device."""

"""`edgegd prove`: what a run's files are on a device, in device-TARGET.json."""

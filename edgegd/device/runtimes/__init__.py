"""Other runtimes as latency workers: what a worker of each is made of (see edgegd.device.runtime_workers)."""

"""`edgegd sweep`: ranges searched by many runs, and recipes over seeds, here or on a cluster."""

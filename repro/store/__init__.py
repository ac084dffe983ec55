"""The folder of runs: what a run is, what it left, and arithmetic on stored views."""

"""Processes and machines: devices, the processes of torchrun, signals and interruption."""

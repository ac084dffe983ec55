"""Nets that others trained: `read.read` makes of a file the state dict of one of our nets."""

"""Nets of Table 1, their dense form, and how weights start."""

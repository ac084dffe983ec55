"""The published numbers and claims, as data."""

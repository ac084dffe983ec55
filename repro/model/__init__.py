"""The layer list read from the YAML, and what follows from it without torch: cost, geometry."""

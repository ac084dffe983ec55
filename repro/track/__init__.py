"""Live curves of a run, for the viewer of others: TensorBoard."""

"""Live curves of a run, for the viewers of others: TensorBoard, MLflow."""

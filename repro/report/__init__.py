"""From the store and the paper's data to tables, figures and the report."""

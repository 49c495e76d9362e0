"""What a dataset holds: one pass over its columns, partial results that add up, and their report."""

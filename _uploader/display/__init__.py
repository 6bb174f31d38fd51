"""What one sees of a run."""

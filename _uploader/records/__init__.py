"""Records how files end, on disk and in numbers."""

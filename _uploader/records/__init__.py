"""What is known of the files, on disk and in numbers."""

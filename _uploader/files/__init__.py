"""Finds the files to send."""

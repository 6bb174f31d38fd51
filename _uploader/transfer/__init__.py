"""Uploads files: how many at once, when again, whole or in parts."""

"""The old names and classes on the new engine."""

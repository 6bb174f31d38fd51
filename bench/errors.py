"""How a benchmark can fail to start."""


class BenchError(Exception):
    """The bench cannot go on as it was called; its text is one line that says what to do."""

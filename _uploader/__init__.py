"""The engine behind ``uploader.py``: scan, supervisor, workers, report.  Private; see README.md."""

__version__ = "1.0.0"

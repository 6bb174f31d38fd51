"""Shows a run: counters become a bar, lines or JSON."""

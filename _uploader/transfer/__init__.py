"""One file on its way: how many at once, again and when, in parts or whole."""

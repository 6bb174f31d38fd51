"""A lean HTTP/1.1 connection on a gevent loop."""

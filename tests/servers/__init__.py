"""Real servers for the tests: each is a process of its own on loopback, up for one `with`."""

from __future__ import annotations

import os

import pytest

from bench.process import Server


def require(server: type[Server]) -> None:
    """Skip the test when `server` is not installed; with CI=true fail instead.

    A skip nobody reads must not pass for a green run.
    """
    reason = server.missing()
    if reason is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)

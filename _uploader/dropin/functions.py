"""The old module's functions."""

# ruff: noqa: N802  (the old names)

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from .failures import complain

P = ParamSpec("P")
T = TypeVar("T")


def getFiles(dir: str) -> list[dict[str, Any]]:
    """Lists every file below ``dir`` as ``{'path', 'name', 'size'}``; ``path`` begins with ``dir``.

    A directory's own files come before those of its subdirectories.  Links to files count as
    files; links to directories are not followed.  An unreadable directory is named on stderr and
    left out.
    """
    files: list[dict[str, Any]] = []
    directories = [os.fspath(dir)]
    while directories:
        below: list[str] = []
        try:
            with os.scandir(directories.pop()) as entries:
                for entry in entries:
                    # An entry that has vanished, or a loop of links, is no file.
                    with suppress(OSError):
                        if entry.is_file():
                            path = entry.path.replace("\\", "/")
                            size = entry.stat().st_size
                            files.append({"path": path, "name": entry.name, "size": size})
                        elif entry.is_dir(follow_symlinks=False):
                            below.append(entry.path)
        except OSError as error:
            complain(f"getFiles: {error.filename}: {error.strerror}")
        directories += reversed(below)
    return files


def current_milli_time() -> int:
    """Milliseconds since the epoch."""
    return round(time.time() * 1000)


def timed(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: prints ``NAME: N ms`` after each call."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        started = time.perf_counter()
        result = function(*args, **kwargs)
        milliseconds = round((time.perf_counter() - started) * 1000)
        print(f"{function.__name__}: {milliseconds} ms")
        return result

    return wrapper

"""Chooses the display of a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TextIO

from ..config import Settings
from .base import Display
from .json_lines import JsonLines, dropped_event
from .lines import Lines, Quiet
from .outlet import Outlet, dropped_text
from .terminal import Terminal


def choose(
    settings: Settings,
    stdout: TextIO,
    stderr: TextIO,
    *,
    hurried: Callable[[], bool] = lambda: False,
) -> Display:
    """The display that the settings and the streams ask for; ``json`` wins over ``quiet``.

    Once ``hurried`` returns true, no stream is waited for.  A dry run has nothing to do but show:
    it waits for its reader.
    """
    lossless = settings.dry_run
    gap = dropped_event if settings.json else dropped_text
    out = Outlet(stdout, gap=gap, lossless=lossless, hurried=hurried)
    err = Outlet(stderr, lossless=lossless, hurried=hurried, beside=out)
    if settings.json:
        return JsonLines(out, err)
    if settings.quiet:
        return Quiet(err)
    verbose = settings.verbose or settings.dry_run
    if stderr.isatty() and os.environ.get("TERM") != "dumb":
        return Terminal(out, err, verbose=verbose)
    return Lines(out, err, verbose=verbose)

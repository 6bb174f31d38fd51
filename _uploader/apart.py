"""Imports our modules beside a caller's own package named ``providers``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_HOME = Path(__file__).resolve().parent.parent
_NAME = "providers"


@contextmanager
def our_modules() -> Iterator[None]:
    """Imports inside find our ``providers``; afterwards the name means the caller's.

    Import inside whatever of ours the caller's process will need: a later import would search the
    caller's package.
    """
    if _is_ours():
        yield
        return
    theirs = _take_out()
    sys.path.insert(0, str(_HOME))
    try:
        yield
    finally:
        sys.path.remove(str(_HOME))
        _take_out()
        sys.modules.update(theirs)


def _is_ours() -> bool:
    """Whether ``import providers`` would give our package."""
    loaded = sys.modules.get(_NAME)
    spec = loaded.__spec__ if loaded else importlib.util.find_spec(_NAME)
    return spec is not None and spec.origin == str(_HOME / _NAME / "__init__.py")


def _take_out() -> dict[str, ModuleType]:
    """Removes the package's modules from ``sys.modules``; returns them."""
    names = [name for name in sys.modules if name == _NAME or name.startswith(f"{_NAME}.")]
    return {name: sys.modules.pop(name) for name in names}

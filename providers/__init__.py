"""The clouds: a file each, named after libcloud's ``Provider`` value; ``base`` is the contract."""

from __future__ import annotations

import importlib.util
import pkgutil
from functools import cache
from typing import Any

from .base import Cloud, CloudSettings
from .errors import Fatal


def names() -> list[str]:
    """The clouds that have a file of their own; every other libcloud provider goes by its name."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in modules if name not in _NOT_CLOUDS and name[0] != "_")


def find(provider: str) -> type[Cloud]:
    """The kind of cloud that has this name; raises ``Fatal`` when there is none."""
    if provider in names():
        module = importlib.import_module(f"{__name__}.{provider}")
        cloud: type[Cloud] = module.CLOUD
        return cloud
    from .libcloud import LibcloudCloud, known_providers

    if provider not in known_providers():
        known = ", ".join(sorted({*names(), *known_providers()}))
        raise Fatal(f"unknown provider {provider!r}; known are {known}")
    return LibcloudCloud


@cache
def option_tables() -> dict[str, Any]:
    """The options that single clouds have, by the cloud's name: dataclasses of ``option`` fields.

    They are in ``<cloud>/options.py``, which imports nothing that takes time.
    """
    folders = [module.name for module in pkgutil.iter_modules(__path__) if module.ispkg]
    found = {}
    for name in sorted(folders):
        if importlib.util.find_spec(f"{__name__}.{name}.options"):
            found[name] = importlib.import_module(f"{__name__}.{name}.options").OPTIONS
    return found


def load(settings: CloudSettings) -> Cloud:
    """The cloud that ``settings.provider`` names; raises ``Fatal`` when it cannot be used."""
    return find(settings.provider)(settings)


_NOT_CLOUDS = {
    "attributes",
    "base",
    "disk",
    "errors",
    "http",
    "libcloud",
    "options",
    "source",
    "traffic",
}

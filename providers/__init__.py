"""The clouds: a file each, named after libcloud's ``Provider`` value; ``base`` is the contract."""

from __future__ import annotations

import importlib
import pkgutil

from .base import Cloud, CloudSettings
from .errors import Fatal


def names() -> list[str]:
    """The clouds that have a file of their own; every other libcloud provider goes by its name."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in modules if name not in _NOT_CLOUDS and name[0] != "_")


def load(settings: CloudSettings) -> Cloud:
    """The cloud that ``settings.provider`` names; raises ``Fatal`` when there is none."""
    name = settings.provider
    if name in names():
        module = importlib.import_module(f"{__name__}.{name}")
        cloud: type[Cloud] = module.CLOUD
        return cloud(settings)
    from ._libcloud import LibcloudCloud, known_providers

    if name not in known_providers():
        known = ", ".join(sorted({*names(), *known_providers()}))
        raise Fatal(f"unknown provider {name!r}; known are {known}")
    return LibcloudCloud(settings)


_NOT_CLOUDS = {"base", "errors", "source"}

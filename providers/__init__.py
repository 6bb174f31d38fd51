"""The clouds, a file or folder each; ``base`` is the contract.

They are named after libcloud's ``Provider`` values.
"""

from __future__ import annotations

import importlib.util
import pkgutil
from collections.abc import Iterable
from functools import cache
from itertools import chain
from types import ModuleType
from typing import Any

from .base import Cloud, CloudSettings, Prices, Requests
from .errors import Fatal


def names() -> list[str]:
    """The clouds that have a file of their own; every other libcloud provider goes by its name."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in modules if name not in _NOT_CLOUDS and name[0] != "_")


def home(provider: str) -> str:
    """The file or folder that serves a provider: one that has the name in its table of ``names``,
    else the one of that name; "libcloud" for all others."""
    for folder, table in _tables("names").items():
        if table.serves(provider):
            return folder
    return provider if provider in names() else "libcloud"


def find(provider: str) -> type[Cloud]:
    """The kind of cloud that has this name; raises ``Fatal`` when there is none."""
    own = home(provider)
    if own != "libcloud":
        module = importlib.import_module(f"{__name__}.{own}")
        cloud: type[Cloud] = module.CLOUD
        return cloud
    from .libcloud import LibcloudCloud

    if provider not in known_names():
        known = ", ".join(known_names())
        raise Fatal(f"unknown provider {provider!r}; known are {known}")
    return LibcloudCloud


def known_names() -> list[str]:
    """Every name that ``find`` knows, sorted."""
    from .libcloud import known_providers

    tables = (module.NAMES for module in _tables("names").values())
    return sorted({*names(), *known_providers(), *chain.from_iterable(tables)})


def option_tables() -> dict[str, Any]:
    """The options that single clouds have, by the cloud's name: dataclasses of ``option`` fields.

    They are in ``<cloud>/options.py``, which imports nothing that takes time.
    """
    return {name: module.OPTIONS for name, module in _tables("options").items()}


def check_metadata(provider: str, metadata: Iterable[tuple[str, str]]) -> None:
    """Raises ``ValueError`` in one line when no object of a provider can have user metadata of
    these names, as far as ``<cloud>/metadata.py`` says, which imports nothing that takes time."""
    rules = _tables("metadata").get(home(provider))
    if rules:
        rules.check_names([name for name, _ in metadata])


def has_regions(provider: str) -> bool:
    """Whether a region says anything to a provider."""
    return home(provider) not in _WITHOUT_REGIONS


def comparable(provider: str) -> bool:
    """Whether a provider's objects can be listed, deleted and given other metadata."""
    return home(provider) in _COMPARABLE


def check(settings: CloudSettings) -> None:
    """Raises ``Fatal`` in one line when the settings are wrong whatever the service would answer,
    as far as ``<cloud>/usage.py`` says, which imports nothing that takes time."""
    rules = _tables("usage").get(home(settings.provider))
    if rules:
        rules.check(settings)


def planned(settings: CloudSettings) -> tuple[Requests, Prices | None]:
    """The requests of uploads to a provider, and their prices where they are known, as far as
    ``<cloud>/plan.py`` says, which imports nothing that takes time."""
    found = _tables("plan").get(home(settings.provider))
    return (found.REQUESTS, found.prices(settings)) if found else (Requests("upload"), None)


@cache
def _tables(name: str) -> dict[str, ModuleType]:
    """The modules ``<cloud>/<name>.py``, by the cloud's name."""
    folders = [module.name for module in pkgutil.iter_modules(__path__) if module.ispkg]
    found = {}
    for folder in sorted(folders):
        module = f"{__name__}.{folder}.{name}"
        if importlib.util.find_spec(module):
            found[folder] = importlib.import_module(module)
    return found


def load(settings: CloudSettings) -> Cloud:
    """The cloud that ``settings.provider`` names; raises ``Fatal`` when it cannot be used."""
    return find(settings.provider)(settings)


_WITHOUT_REGIONS = {"azure_blobs", "local"}
_COMPARABLE = {"azure_blobs", "local", "s3"}
_NOT_CLOUDS = {
    "attributes",
    "base",
    "disk",
    "page_cache",
    "proof",
    "errors",
    "http",
    "libcloud",
    "options",
    "source",
    "traffic",
}

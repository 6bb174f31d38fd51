"""Changes to the program as the command loads it, where no option serves."""

from __future__ import annotations

import textwrap
from pathlib import Path

_HOOK = """\
def install():
    import importlib.machinery, sys

{code}

    class Finder(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            if name != {module!r}:
                return None
            spec = super().find_spec(name, path, target)
            load = spec.loader.exec_module
            def exec_module(module):
                load(module)
                change(module)
            spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, Finder)

install()
"""


def on_import(directory: Path, module: str, code: str) -> dict[str, str]:
    """Environment for a command in which the function ``change`` of ``code`` gets that module.

    Each interpreter imports what lies in ``directory`` when it starts: changes of several modules,
    one after another.
    """
    directory.mkdir(parents=True, exist_ok=True)
    code = textwrap.indent(textwrap.dedent(code), " " * 4)
    with (directory / "sitecustomize.py").open("a") as file:
        file.write(_HOOK.format(module=module, code=code))
    return {"PYTHONPATH": str(directory)}


def small_parts(directory: Path) -> dict[str, str]:
    """Files above 2 MiB go in parts of 1 MiB, to a FakeS3 with ``least_part=MIB``: hundreds of
    multipart uploads would take minutes otherwise."""
    code = """
        def change(module):
            cloud = module.S3Cloud
            cloud.parts = cloud.parts._replace(threshold=2 << 20, part_size=1 << 20)
    """
    return on_import(directory, "providers.s3.cloud", code)


def around_calls(directory: Path, module: str, owner: str, name: str, code: str) -> dict[str, str]:
    """``code``, which defines ``act(when, nth)``, runs before and after each call of a method."""
    wrapping = f"""
def change(module):
    owner = getattr(module, {owner!r})
    real = getattr(owner, {name!r})
    calls = 0

    def wrapped(*arguments, **options):
        nonlocal calls
        calls += 1
        nth = calls
        act("before", nth)
        result = real(*arguments, **options)
        act("after", nth)
        return result

    setattr(owner, {name!r}, wrapped)
"""
    return on_import(directory, module, textwrap.dedent(code) + wrapping)

"""The provider suite over all targets."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.providers.conformance")

import providers  # noqa: E402  (needs the line above)
from tests.providers.conformance import (  # noqa: E402, F401
    ODD_KEYS,
    PartsSuite,
    ProviderSuite,
    no_bucket,
    place,
    rules,
    store,
    stores,
    upload,
)
from tests.targets import TARGETS  # noqa: E402


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each rule once for each target that can show it."""
    if "target" not in metafunc.fixturenames:
        return
    rule = metafunc.function.__name__
    parts_only = metafunc.cls is TestParts
    chosen = [t for t in TARGETS if rule not in t.without and (t.parts or not parts_only)]
    metafunc.parametrize("target", chosen, ids=[t.name for t in chosen])


class TestProvider(ProviderSuite):
    """Every cloud."""


class TestParts(PartsSuite):
    """Clouds that take parts."""


@pytest.mark.parametrize("name", providers.names())
def test_each_provider_has_a_target(name: str) -> None:
    covered = {target.provider for target in TARGETS}
    assert name in covered, f"providers/{name}.py has no entry in tests/targets.py"


def test_exceptions_name_rules_and_keys_that_exist() -> None:
    for target in TARGETS:
        assert {*target.refused_keys, *target.renamed_keys} <= ODD_KEYS.keys()
        assert all(hasattr(TestProvider, r) or hasattr(TestParts, r) for r in target.without)

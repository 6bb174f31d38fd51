"""The provider suite over all targets but those of ``test_conformance_ceph``."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.providers.conformance")

import providers  # noqa: E402  (needs the line above)
from tests.providers.conformance import (  # noqa: E402, F401
    ODD_KEYS,
    CompareSuite,
    PartsSuite,
    ProviderSuite,
    each_rule,
    no_bucket,
    place,
    rules,
    store,
    stores,
    upload,
)
from tests.targets import ALSO_ON_CEPH, TARGETS  # noqa: E402

pytest_generate_tests = each_rule([target for target in TARGETS if target not in ALSO_ON_CEPH])


class TestProvider(ProviderSuite):
    """Every cloud."""


class TestParts(PartsSuite):
    """Clouds that take parts."""


class TestCompare(CompareSuite):
    """Clouds whose objects can be listed, deleted and described anew."""


@pytest.mark.parametrize("name", providers.names())
def test_each_provider_has_a_target(name: str) -> None:
    covered = {target.provider for target in TARGETS}
    assert name in covered, f"providers/{name}.py has no entry in tests/targets.py"


def test_exceptions_name_rules_and_keys_that_exist() -> None:
    for target in TARGETS:
        assert {*target.refused_keys, *target.renamed_keys} <= ODD_KEYS.keys()
        suites = (TestProvider, TestParts, TestCompare)
        assert all(any(hasattr(suite, rule) for suite in suites) for rule in target.without)

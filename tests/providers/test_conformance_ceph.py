"""The provider suite over what Ceph can do besides plain S3."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.providers.conformance")

from tests.providers.conformance import (  # noqa: E402, F401  (needs the line above)
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
from tests.targets import ALSO_ON_CEPH  # noqa: E402

pytest_generate_tests = each_rule(ALSO_ON_CEPH)


class TestProvider(ProviderSuite):
    """Every cloud."""


class TestParts(PartsSuite):
    """Clouds that take parts."""


class TestCompare(CompareSuite):
    """Clouds whose objects can be listed, deleted and described anew."""

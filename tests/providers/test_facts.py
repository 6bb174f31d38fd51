"""README's table of providers says what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

import providers
from providers.base import Cloud
from providers.errors import Fatal
from providers.libcloud import LibcloudCloud, driver_class, known_providers
from providers.s3.cloud import S3Cloud
from providers.s3.names import NAMES
from tests.targets import TARGETS, Target

README = Path(__file__).resolve().parent.parent.parent / "README.md"
HEAD = (
    "| provider | credentials | parts | metadata | proof | resumes | privacy check "
    "| tested against |"
)


def served() -> list[tuple[str, type[Cloud]]]:
    """Every provider that can be used, and the class that serves it; a name that two serve, by the
    kind of its credentials, is there twice."""
    own = [(name, providers.find(name)) for name in providers.names()]
    named = [(name, S3Cloud) for name in NAMES]
    there = {name for name, _ in [*own, *named]}
    others = [(n, LibcloudCloud) for n in known_providers() - there if is_usable(n)]
    return sorted([*own, *named, *others], key=lambda row: (row[0] != "s3", row[0]))


def is_usable(provider: str) -> bool:
    try:
        driver_class(provider, 1.0, None)
    except Fatal:
        return False
    return True


def table() -> list[str]:
    """The table; providers that differ in nothing share a row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for provider, cloud in served():
        rows.setdefault(cells(provider, cloud), []).append(f"`{provider}`")
    lines = [f"| {' | '.join([', '.join(names), *row])} |" for row, names in rows.items()]
    return [HEAD, "|---" * HEAD.count(" | ") + "|---|", *lines]


def cells(provider: str, cloud: type[Cloud]) -> tuple[str, ...]:
    facts = cloud.facts(provider)
    return (
        facts.credentials,
        "yes" if cloud.parts else "no",
        "yes" if cloud.keeps_metadata else "no",
        facts.proof,
        "files and parts" if cloud.parts else "files",
        facts.privacy,
        facts.tested,
    )


def test_the_readme_has_the_table_of_providers() -> None:
    lines = README.read_text().splitlines()
    begin = lines.index(HEAD) if HEAD in lines else len(lines)
    end = next((n for n in range(begin, len(lines)) if not lines[n].startswith("|")), len(lines))
    assert lines[begin:end] == table(), "README.md needs this:\n" + "\n".join(table())


@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_what_the_suite_drives_is_said_to_be_tested(target: Target) -> None:
    provider = target.provider
    served_by = [cloud for name, cloud in served() if name == provider]
    assert any(cloud.facts(provider).tested != "nothing yet" for cloud in served_by)


def test_what_no_test_drives_is_said_to_be_untested() -> None:
    """``minio`` and ``s3_rgw`` are what the tests of ``s3`` speak to, under another name."""
    driven = {target.provider for target in TARGETS} | {"azure_blobs", "minio", "s3_rgw"}
    for provider, cloud in served():
        if provider not in driven and not (provider in NAMES and NAMES[provider].is_aws):
            assert cloud.facts(provider).tested == "nothing yet", provider

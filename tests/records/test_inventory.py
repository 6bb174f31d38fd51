"""What a bucket holds: found again by key, and told apart from what has a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from _uploader.records.inventory import MARKED, Inventory


@pytest.fixture
def inventory() -> Iterator[Inventory]:
    inventory = Inventory()
    yield inventory
    inventory.close()


def others(inventory: Inventory) -> list[str]:
    return [key for keys in inventory.each_other(2) for key in keys]


def filled(inventory: Inventory, *keys: str) -> None:
    inventory.add((key, len(key), f"etag of {key}") for key in keys)
    inventory.complete()


def test_an_object_is_found_by_its_key(inventory: Inventory) -> None:
    filled(inventory, "b", "a/\u00fc", "c")
    assert inventory.count == 3
    assert inventory.find("a/\u00fc") == (3, "etag of a/\u00fc")
    assert inventory.find("a") is None


def test_what_is_kept_is_no_other(inventory: Inventory) -> None:
    filled(inventory, "a", "b", "c", "d")
    inventory.keep("b")
    inventory.keep("missing")
    assert inventory.others() == 3
    assert others(inventory) == ["a", "c", "d"]


def test_many_are_kept(inventory: Inventory) -> None:
    keys = [f"{number:05}" for number in range(3 * MARKED + 1)]
    filled(inventory, *keys, "other")
    for key in keys:
        inventory.keep(key)
    assert inventory.others() == 1
    assert others(inventory) == ["other"]


def test_a_directory_is_kept_with_all_below_it(inventory: Inventory) -> None:
    filled(inventory, "d", "d/a", "d/b/c", "d-e", "d0", "e")
    inventory.keep_below("d")
    assert others(inventory) == ["d-e", "d0", "e"]


def test_what_is_forgotten_was_never_listed(inventory: Inventory) -> None:
    inventory.add([("a", 1, "e")])
    inventory.forget()
    filled(inventory, "b")
    assert inventory.find("a") is None
    assert inventory.others() == inventory.count == 1

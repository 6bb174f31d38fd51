"""The limit of the rate: how it is written, and how it changes while the run goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from _uploader.interrupts import Interrupts
from _uploader.limit_rate import LEAST_RATE, current, limit_rate, rate_of
from _uploader.processes.shared_rate import SharedRate
from _uploader.rate_control import LOOKS, RateChoice, RateControl

MIB = 2**20


class TestTheOption:
    @pytest.mark.parametrize(
        ("text", "rate"),
        [
            ("1M", MIB),
            ("10m", 10 * MIB),
            ("1.5M", 1.5 * MIB),
            ("64K", LEAST_RATE),
            ("1000000", 1e6),
            ("1G", 2**30),
            ("off", 0),
            ("OFF", 0),
        ],
    )
    def test_a_rate(self, text: str, rate: float) -> None:
        assert rate_of(text) == rate
        assert limit_rate(text) == text

    @pytest.mark.parametrize(
        "text", ["", "0", "-1", "-1M", "nan", "inf", "1X", "1MB", "1M/s", "M", "fast", "50%"]
    )
    def test_what_is_no_rate_is_refused_with_an_example(self, text: str) -> None:
        with pytest.raises(ValueError, match="is no rate: give bytes a second such as 10M"):
            limit_rate(text)

    @pytest.mark.parametrize("text", ["1", "1K", "63.9K"])
    def test_a_rate_that_is_too_low_for_a_part_is_refused_with_an_example(self, text: str) -> None:
        with pytest.raises(ValueError, match="too low a rate .* give 64K or more, such as 1M"):
            limit_rate(text)

    def test_a_file_has_the_rate(self, tmp_path: Path) -> None:
        option = f"@{tmp_path / 'rate'}"
        (tmp_path / "rate").write_text(" 2M\n")
        assert current(option) == "2M"
        assert limit_rate(option) == option

    @pytest.mark.parametrize("content", ["", "1K", "\0\xff", "x" * 10**6])
    def test_a_file_that_has_none_is_refused(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "rate").write_text(content)
        with pytest.raises(ValueError, match=r"such as 1"):
            limit_rate(f"@{tmp_path / 'rate'}")

    def test_a_file_that_is_not_there_is_refused_with_its_name(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"cannot read '.*rate': No such file .*such as 10M"):
            limit_rate(f"@{tmp_path / 'rate'}")

    def test_nobody_waits_for_the_writer_of_a_fifo(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "rate")
        assert current(f"@{tmp_path / 'rate'}") == ""


class TestChoice:
    def test_a_toggle_turns_it_off_and_on(self) -> None:
        choice = RateChoice("1M")
        rates = []
        for _ in range(3):
            choice.toggle()
            rates.append(choice.rate)
        assert rates == [0, MIB, 0]

    def test_a_change_holds(self) -> None:
        choice = RateChoice("1M")
        assert choice.change(lambda: "2M") == ""
        assert choice.rate == 2 * MIB

    def test_a_change_ends_a_toggle(self) -> None:
        choice = RateChoice("1M")
        choice.toggle()
        choice.change(lambda: "1M")
        assert choice.rate == 0
        choice.change(lambda: "2M")
        assert choice.rate == 2 * MIB

    def test_what_was_turned_off_by_the_file_a_toggle_turns_on(self) -> None:
        choice = RateChoice("1M")
        choice.change(lambda: "off")
        assert choice.rate == 0
        choice.toggle()
        assert choice.rate == MIB

    def test_what_never_was_a_limit_stays_off(self) -> None:
        choice = RateChoice("off")
        choice.toggle()
        assert choice.rate == 0

    def test_a_wrong_value_keeps_the_rate_and_is_told_once(self) -> None:
        choice = RateChoice("1M")
        told = [choice.change(lambda: "1X") for _ in range(4)]
        assert [bool(text) for text in told] == [False, True, False, False]
        assert "'1X' is no rate" in told[1]
        assert choice.rate == MIB

    def test_a_file_that_is_being_written_is_not_wrong(self) -> None:
        """The shell empties it first."""
        choice = RateChoice("1M")
        assert [choice.change(partial(str, text)) for text in ("", "2M")] == ["", ""]
        assert choice.rate == 2 * MIB

    def test_the_same_mistake_again_is_told_again(self) -> None:
        choice = RateChoice("1M")
        looks = ["1X", "1X", "2M", "1X", "1X"]
        told = [bool(choice.change(partial(str, text))) for text in looks]
        assert told == [False, True, False, False, True]


class Sharer:
    """A fork server that notes what its workers get."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []

    def share(self, descriptor: int) -> None:
        self.descriptors.append(os.dup(descriptor))


class World:
    def __init__(self, option: str | None) -> None:
        self.notes: list[str] = []
        self.interrupts = Interrupts()
        self.control = RateControl(option, self.interrupts, self.notes.append)
        self.sharer = Sharer()
        self.control.begin(self.sharer, 2)  # type: ignore[arg-type]

    @property
    def rate(self) -> float:
        """What the workers see."""
        seen = SharedRate(os.dup(self.sharer.descriptors[0]))
        rate = seen.rate
        seen.close()
        return rate


class TestControl:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        (tmp_path / "rate").write_text("1M")
        return tmp_path / "rate"

    @pytest.fixture
    def world(self, file: Path) -> Iterator[World]:
        world = World(f"@{file}")
        yield world
        world.control.close()
        os.close(world.sharer.descriptors[0])

    def test_the_workers_have_the_rate(self, world: World) -> None:
        world.control.look(0.0, 2)
        assert (world.rate, world.notes) == (MIB, [])

    def test_each_toggle_is_told(self, world: World) -> None:
        for toggles in (1, 1, 2):
            world.interrupts.toggles = toggles
            world.control.look(0.0, 2)
        assert world.notes == ["limit of the rate: off", "limit of the rate: 1.0 MB/s"]
        assert world.rate == MIB

    def test_two_toggles_at_once_change_nothing(self, world: World) -> None:
        world.interrupts.toggles = 2
        world.control.look(0.0, 2)
        assert (world.rate, world.notes) == (MIB, [])

    def test_the_file_is_looked_at_once_in_a_while(self, world: World, file: Path) -> None:
        world.control.look(0.0, 2)
        file.write_text("10M")
        world.control.look(LOOKS / 2, 2)
        assert world.rate == MIB
        world.control.look(LOOKS, 2)
        assert (world.rate, world.notes) == (10 * MIB, ["limit of the rate: 10.5 MB/s"])

    def test_a_file_that_is_gone_changes_nothing(self, world: World, file: Path) -> None:
        file.unlink()
        for number in range(5):
            world.control.look(number * LOOKS, 2)
        assert world.rate == MIB
        (note,) = world.notes
        assert note.startswith("the limit of the rate stays as it is: cannot read ")

    def test_a_run_without_a_limit_says_so(self) -> None:
        world = World(None)
        world.interrupts.toggles = 1
        for now in (0.0, 1.0):
            world.control.look(now, 2)
        assert world.sharer.descriptors == []
        (note,) = world.notes
        assert "--limit-rate" in note

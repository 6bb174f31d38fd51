"""Texts of options become values, or one line that says what is wrong."""

from __future__ import annotations

import pytest

from providers import options


class TestParsers:
    @pytest.mark.parametrize(("text", "number"), [("1", 1), ("64", 64), (" 2 ", 2), ("+3", 3)])
    def test_a_whole_number(self, text: str, number: int) -> None:
        assert options.at_least(1)(text) == number

    @pytest.mark.parametrize("text", ["", "x", "1.5", "1e3", "0x10", "1 2"])
    def test_what_is_no_whole_number_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="is not a whole number"):
            options.at_least(0)(text)

    @pytest.mark.parametrize(("minimum", "text"), [(1, "0"), (0, "-1"), (5, "4")])
    def test_a_number_below_the_least_is_refused(self, minimum: int, text: str) -> None:
        with pytest.raises(ValueError, match=f"{text} is too small: {minimum} is the least"):
            options.at_least(minimum)(text)

    @pytest.mark.parametrize(("text", "number"), [("60", 60), ("0.5", 0.5), ("1e2", 100)])
    def test_seconds(self, text: str, number: float) -> None:
        assert options.seconds(text) == number

    @pytest.mark.parametrize("text", ["", "soon", "1s", "0", "-1", "1e7", "inf", "nan"])
    def test_what_are_no_seconds_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="second"):
            options.seconds(text)

    def test_one_of_several_names(self) -> None:
        assert options.one_of("a", "b")("b") == "b"

    @pytest.mark.parametrize("text", ["", "c", "A", "a "])
    def test_another_name_is_refused_with_those_that_are_known(self, text: str) -> None:
        with pytest.raises(ValueError, match="is none of a, b$"):
            options.one_of("a", "b")(text)

    @pytest.mark.parametrize("text", ["1", "true", "TRUE", "yes", "On", " on "])
    def test_a_switch_that_is_on(self, text: str) -> None:
        assert options.switch(text) is True

    @pytest.mark.parametrize("text", ["", "0", "false", "No", "off"])
    def test_a_switch_that_is_off(self, text: str) -> None:
        assert options.switch(text) is False

    @pytest.mark.parametrize("text", ["2", "maybe", "y e s"])
    def test_what_is_no_switch_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="neither true nor false"):
            options.switch(text)

    @pytest.mark.parametrize("text", ["x", "no-store, max-age=0", "arn:aws:kms:eu-west-1:1:key/a"])
    def test_a_text_that_a_header_carries(self, text: str) -> None:
        assert options.plain(text) == text

    @pytest.mark.parametrize("text", ["", " ", " a", "a ", "a  b", "ü", "a\nb", "a\tb", "\x7f"])
    def test_a_text_that_a_header_would_change_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="cannot be sent: give") as caught:
            options.plain(text)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "pair"), [("a=b", ("a", "b")), ("a=", ("a", "")), ("a=b=c", ("a", "b=c"))]
    )
    def test_a_name_with_a_value(self, text: str, pair: tuple[str, str]) -> None:
        assert options.pair(text) == pair

    @pytest.mark.parametrize("text", ["", "a", "=b", "="])
    def test_what_is_no_name_with_a_value_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="is not NAME=VALUE$"):
            options.pair(text)


class TestBetween:
    @pytest.mark.parametrize("text", ["0", "19"])
    def test_both_ends_belong_to_it(self, text: str) -> None:
        assert options.between(0, 19)(text) == int(text)

    @pytest.mark.parametrize(("text", "reason"), [("-1", "too small"), ("20", "too large")])
    def test_others_are_refused(self, text: str, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            options.between(0, 19)(text)

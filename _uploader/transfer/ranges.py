"""How a long listing is cut so that several can list it at once.  Pure.

A service lists in the order of keys, from any key on: who is idle takes the second half of what
another has still to list.  Where the halves meet is a guess between two keys.  A wrong one costs
one request, never a key: each range ends where the next begins.
"""

from __future__ import annotations

from collections.abc import Callable

PROBES = 48
"""Most questions for the last characters: 7 find one among those of ASCII."""
_BELOW = 0x1F
"""Code before the first character that names have."""
_ASCII_END = 0x7F
_END = 0x110000
_SURROGATES = range(0xD800, 0xE000)
"""Codes that no key has."""
FIGURES = 7
"""Characters of a key that a float tells from others."""
LEAST_REST = 2000
"""Keys that are worth a request of their own: two pages."""


class Range:
    """Keys that one lister lists: those after ``after``, up to ``until``."""

    def __init__(self, after: str, until: str | None) -> None:
        self.after = after
        """What comes before is listed."""
        self.until = until
        """The last one; None: to the end of the listing."""
        self.began = after
        """Where it is counted from."""
        self.found = 0
        self.halved = False
        """It has found nothing since it was last cut."""

    def listed(self, last: str, count: int) -> None:
        """Another ``count`` keys have been listed, up to ``last``."""
        if not self.found:
            self.began = last
        self.after = last
        self.found += count
        self.halved = False


class Ranges:
    """The ranges that are being listed."""

    def __init__(self) -> None:
        self.first = Range("", None)
        self._running = [self.first]
        self._end = ""
        self._alike = 0

    def allow(self, first: str, end: str) -> None:
        """Ranges may be cut from now on: keys are between the ``first`` and about ``end``."""
        self._end = end
        self._alike = _alike(first, end)

    def ended(self, done: Range) -> None:
        """A range has been listed to its end."""
        self._running.remove(done)

    def cut(self) -> Range | None:
        """Takes the second half of what is thought to be the longest rest; None when there is
        nothing to take.  What was cut is not cut again before it has found more."""
        if not self._end:
            return None
        able = [each for each in self._running if not each.halved]
        for longest in sorted(able, key=self._rest, reverse=True):
            if self._rest(longest) < LEAST_REST:
                return None
            middle = between(longest.after, longest.until or self._end)
            if middle is not None:
                taken = Range(middle, longest.until)
                longest.until = middle
                longest.halved = taken.halved = True
                self._running.append(taken)
                return taken
        return None

    def _rest(self, of: Range) -> float:
        """About how many keys a range has still to list."""
        began, after, until = map(self._number, (of.began, of.after, of.until or self._end))
        return (until - after) * of.found / (after - began) if after > began else 0.0

    def _number(self, key: str) -> float:
        """Where a key is among all, from 0 to 1."""
        number, unit = 0.0, 1.0
        for char in key[self._alike : self._alike + FIGURES]:
            unit /= 128
            number += min(ord(char), _ASCII_END) * unit
        return number


def between(low: str, high: str) -> str | None:
    """A text after ``low`` and before ``high``, about halfway; None where there is hardly one."""
    if low >= high:
        return None
    same = 0
    while same < len(low) and low[same] == high[same]:
        same += 1
    least = ord(low[same]) if same < len(low) else _BELOW
    middle = _middle(least, ord(high[same]))
    if middle:
        return high[:same] + middle
    if len(high) > same + 1:
        return high[: same + 1]
    for place in range(same + 1, len(low) + 1):
        least = ord(low[place]) if place < len(low) else _BELOW
        middle = _middle(least, _ASCII_END if least < _ASCII_END else _END)
        if middle:
            return low[:place] + middle
    return None


def find_end(prefix: str, last: str, first_after: Callable[[str], str | None]) -> str:
    """A text that no key comes after, close to the last key; ``last`` is one of the keys, which all
    have the ``prefix``.

    ``first_after`` asks the service for the first key after a text, None when there is none.
    """
    start = last
    top = chr(_ASCII_END)
    if (found := first_after(prefix + top)) is not None:
        last, top = found, chr(_END - 1)
    # First how many characters the last key has in common with this one, ...
    same, more = len(prefix), len(last)
    while more - same > 1:
        place = (same + more) // 2
        found = first_after(last[:place] + top)
        if found is None:
            same = place
        else:
            last, more = found, place
    # ... then those after them.
    high = last[:same] + top
    for _ in range(PROBES):
        middle = between(last, high)
        if middle is None or _alike(last, high) >= _alike(start, high) + 2:
            break
        found = first_after(middle)
        if found is None:
            high = middle
        else:
            last = found
    return high


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def _middle(least: int, most: int) -> str:
    """The character halfway between two codes; empty when there is none between."""
    code = (least + most) // 2
    if code in _SURROGATES:
        code = _SURROGATES.stop if most > _SURROGATES.stop else _SURROGATES.start - 1
    return chr(code) if least < code < most else ""

"""Rules by patterns: which paths are taken, which directories need no look.  Pure.

The patterns are gitignore's, by the library pathspec.  In one point the rules differ from git's:
the last rule that matches a file decides, even where an earlier one leaves out its directory.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

ANY_DEPTH = "**"


class Rule(NamedTuple):
    """One pattern, and what becomes of the files that it matches."""

    pattern: GitIgnoreSpecPattern
    takes: bool
    """They are taken; otherwise left out."""
    levels: Sequence[GitIgnoreSpecPattern | None] | None
    """What the path is to have at each level from the root on; None for any number of levels.  None
    as a whole: it may lie anywhere."""

    def matches(self, path: str) -> bool:
        """Whether it matches the path, or a directory above; of a directory ends with a slash."""
        return self.pattern.match_file(path) is not None

    def may_match_below(self, directory: str) -> bool:
        """Whether it may match a file below the directory, which it does not match itself."""
        if self.levels is None:
            return True
        for name, level in zip(directory.split("/"), self.levels, strict=False):
            if level is None:
                return True
            if level.match_file(name) is None:
                return False
        return True


def rule(text: str, *, takes: bool) -> Rule:
    """A rule for the files that the pattern matches.  Raises ``ValueError`` when it can match
    none."""
    if text.startswith("!"):
        raise ValueError(f"{text!r} begins with !: write \\! for a name that begins so")
    pattern = _pattern(text)
    if pattern is None:
        raise ValueError(
            f"{text!r} matches nothing: give a pattern like *.jpg or /logs/ (\\# for a name that "
            "begins with #)"
        )
    return Rule(pattern, takes, _levels(text))


def rules_of_lines(lines: Iterable[str]) -> list[Rule]:
    """The rules of a file like .gitignore: each pattern leaves out, with ``!`` before it takes.

    Raises ``ValueError`` that names the line when one makes no sense.
    """
    found = []
    for number, line in enumerate(lines, 1):
        try:
            pattern = _pattern(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if pattern is not None:
            takes = pattern.include is False
            found.append(Rule(pattern, takes, _levels(line.removeprefix("!"))))
    return found


class Rules:
    """Rules in their order: the last one that matches decides."""

    def __init__(self, rules: Sequence[Rule], *, otherwise: bool) -> None:
        """``otherwise``: whether files that no rule matches are taken."""
        self._latest_first = tuple(reversed(rules))
        self._otherwise = otherwise

    def take(self, path: str) -> bool:
        """Whether the file is taken."""
        for rule in self._latest_first:
            if rule.matches(path):
                return rule.takes
        return self._otherwise

    def enter(self, directory: str) -> bool:
        """Whether a file below the directory may be taken."""
        for rule in self._latest_first:
            if rule.matches(f"{directory}/"):
                return rule.takes
            if rule.takes and rule.may_match_below(directory):
                return True
        return self._otherwise


def _pattern(text: str) -> GitIgnoreSpecPattern | None:
    """The pattern; None for a comment, and for what git ignores."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what [[a] may once mean to Python
            pattern = GitIgnoreSpecPattern(text)
    except (ValueError, re.error):
        raise ValueError(f"{text!r} is no pattern of gitignore") from None
    return None if pattern.include is None else pattern


def _levels(text: str) -> list[GitIgnoreSpecPattern | None] | None:
    text = text if text.endswith("\\ ") else text.rstrip()
    names = text.rstrip("/").split("/")
    if len(names) == 1:  # a slash at its beginning or inside ties a pattern to the root
        return None
    names = names[0 if names[0] else 1 :]
    return [None if name == ANY_DEPTH else _pattern(f"/{name}") for name in names]

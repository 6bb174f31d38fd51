"""The last rule that matches decides, and no directory is left out that has a file to take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _uploader.files.rules import Rules, rule, rules_of_lines

README = Path(__file__).resolve().parent.parent.parent / "README.md"


def rules(options: str, lines: str = "") -> Rules:
    """What ``--include P --exclude P ...`` stands for; ``lines`` of the file of an
    ``--exclude-from``."""
    words = options.replace("'", "").split()
    found = []
    for flag, text in zip(words[::2], words[1::2], strict=True):
        if flag == "--exclude-from":
            found += rules_of_lines(lines.splitlines())
        else:
            found.append(rule(text, takes=flag == "--include"))
    return Rules(found, otherwise=words[0] != "--include")


def taken(some: Rules, *paths: str) -> list[str]:
    return [path for path in paths if some.take(path)]


EXAMPLES = {
    "--include '*.jpg'": (["a.jpg", "x/b.jpg"], ["a.png", "x/jpg", "a.jpg.txt"]),
    "--exclude '*.tmp'": (["a", "x/a.tmp.c"], ["a.tmp", "x/y/b.tmp", "z.tmp/in"]),
    "--exclude cache/": (["cache", "x/caches/a"], ["cache/a", "x/cache/y/b"]),
    "--exclude /cache/": (["x/cache/a", "cache.txt"], ["cache/a", "cache/y/b"]),
    "--exclude '.*'": (["a.b", "x/a"], [".a", "x/.b", ".git/config"]),
    "--include 'docs/*.md'": (["docs/a.md"], ["docs/x/a.md", "x/docs/a.md", "a.md"]),
    "--include 'docs/**/*.md'": (["docs/a.md", "docs/x/y/a.md"], ["a.md", "x/docs/a.md"]),
    "--exclude '*.log' --include error.log": (["error.log", "x/error.log", "a"], ["x/a.log"]),
    "--include '*.jpg' --exclude /raw/": (["a.jpg", "x/raw/a.jpg"], ["raw/a.jpg", "a"]),
    "--exclude-from .gitignore --exclude .git/": (
        ["a", "build/keep", "x/.gitignore"],
        ["build/a", "a.o", ".git/HEAD"],
    ),
}
"""Each example of README: files that are taken, files that are not."""
GITIGNORE = "# made by the compiler\n\nbuild/*\n*.o\n!build/keep\n"


@pytest.mark.parametrize("options", EXAMPLES)
def test_the_examples_do_as_they_say(options: str) -> None:
    these, others = EXAMPLES[options]
    assert taken(rules(options, GITIGNORE), *these, *others) == these


def test_the_examples_are_those_of_the_readme() -> None:
    section = README.read_text().partition("### Choosing files")[2].partition("\n### ")[0]
    assert re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE) == list(EXAMPLES)


def test_the_last_rule_decides_even_in_a_directory_that_an_earlier_one_leaves_out() -> None:
    some = rules("--exclude cache/ --include *.jpg")
    assert taken(some, "cache/a.jpg", "cache/a.png") == ["cache/a.jpg"]
    assert some.enter("cache")


@pytest.mark.parametrize(
    ("options", "entered", "left_out"),
    [
        ("--exclude cache/", ["a"], ["cache", "a/cache"]),
        ("--exclude cache", ["a"], ["cache"]),
        ("--exclude * --include *.jpg", ["a", "a/b"], []),
        ("--include *.jpg --exclude *", [], ["a"]),
        ("--include /a/b/*.txt", ["a", "a/b"], ["b", "a/c", "b/a"]),
        ("--include a/**/b", ["a", "a/x", "a/x/y"], ["x"]),
        ("--include */x/y", ["a", "a/x"], ["a/b"]),
        ("--include a/b/", ["a", "a/b", "a/b/c"], ["b"]),
        ("--exclude * --include /keep/", ["keep", "keep/x"], ["a"]),
        ("--exclude a/* --include a/b/c", ["a", "a/b"], ["a/x"]),
    ],
)
def test_directories_without_a_file_to_take_are_not_entered(
    options: str, entered: list[str], left_out: list[str]
) -> None:
    some = rules(options)
    assert [path for path in (*entered, *left_out) if some.enter(path)] == entered


NAMES = st.sampled_from(["a", "b", "ab", ".a", "a.b"])
PATHS = st.lists(NAMES, min_size=2, max_size=4).map("/".join)
PATTERNS = st.tuples(
    st.sampled_from(["", "/"]),
    st.lists(
        st.sampled_from(["a", "b", "*", "**", "a*", "?b", "[ab]", ".*"]), min_size=1, max_size=3
    ).map("/".join),
    st.sampled_from(["", "/"]),
).map("".join)


@given(st.lists(st.tuples(PATTERNS, st.booleans()), max_size=4), st.booleans(), PATHS)
def test_whatever_the_rules_a_file_that_is_taken_is_found(
    patterns: list[tuple[str, bool]], otherwise: bool, path: str
) -> None:
    some = Rules([rule(text, takes=takes) for text, takes in patterns], otherwise=otherwise)
    if some.take(path):
        parts = path.split("/")
        assert all(some.enter("/".join(parts[:depth])) for depth in range(1, len(parts)))


@pytest.mark.parametrize("text", ["", " ", "#a", "/"])
def test_a_pattern_that_matches_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="matches nothing: give a pattern like"):
        rule(text, takes=True)


def test_a_pattern_with_an_exclamation_mark_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^'!a' begins with !: write \\! for a name"):
        rule("!a", takes=False)


def test_marks_with_a_backslash_are_names() -> None:
    some = rules(r"--include \#a --include \!b")
    assert taken(some, "#a", "!b", "a", "b") == ["#a", "!b"]


def test_a_wrong_line_is_named() -> None:
    with pytest.raises(ValueError, match=r"^line 3: '\[z-a\]' is no pattern of gitignore$"):
        rules_of_lines(["a", "", "[z-a]"])


@given(st.text())
def test_no_text_fails_otherwise_than_in_one_line(text: str) -> None:
    try:
        rule(text, takes=True).may_match_below("a/b")
    except ValueError as error:
        assert "\n" not in str(error)


def test_a_name_that_is_not_utf8_is_matched() -> None:
    assert taken(rules("--include *.jpg"), "caf\udce9.jpg") == ["caf\udce9.jpg"]


def test_a_name_may_end_with_a_space() -> None:
    some = Rules([rule("/a/b\\ ", takes=True)], otherwise=False)
    assert taken(some, "a/b ", "a/b") == ["a/b "]
    assert some.enter("a")

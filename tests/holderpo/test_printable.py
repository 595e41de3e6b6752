"""Text of others on a terminal."""

import itertools
import sys
import unicodedata

import pytest

from holderpo.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("over\rwritten", "over\\rwritten"),
        ("\x9b31m", "\\x9b31m"),
        ("a\tb\x08\x7f\x00", "a\\tb\\x08\\x7f\\x00"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("zero\u200bwidth\ufeff\u00ad", "zero\\u200bwidth\\ufeff\\xad"),
        ("\u2028line\u2029", "\\u2028line\\u2029"),
        ("\ud800half", "\\ud800half"),
        ("\ue000\U000e0041", "\\ue000\\U000e0041"),
        ("apple 1, Äpfel, 林檎, 🍎, a\u0301, \\x1b", "apple 1, Äpfel, 林檎, 🍎, a\u0301, \\x1b"),
    ],
)
def test_what_is_not_drawn_is_escaped(text, shown):
    assert printable(text) == shown
    assert printable(text, keep_lines=True) == shown


def test_new_lines_stay_only_where_they_are_wanted():
    assert printable("one\ntwo\r\n") == "one\\ntwo\\r\\n"
    assert printable("one\ntwo\r\n", keep_lines=True) == "one\ntwo\\r\n"


def test_no_character_of_any_kind_acts_on_a_terminal():
    planes = (
        range(0x20000),
        range(0xE0000, 0xE1000),
        range(sys.maxunicode - 9, sys.maxunicode + 1),
    )
    everything = "".join(map(chr, itertools.chain(*planes)))
    shown = printable(everything)
    assert not {unicodedata.category(character)[0] for character in set(shown)} & {"C"}
    # All of it can be printed.
    shown.encode()

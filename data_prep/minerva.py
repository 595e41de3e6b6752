"""Minerva: 272 problems of university courses.

69 prompts hold an earlier part of the problem with its solution, and for 32 of them the published
gold is that part's answer, not the one asked for. The labels stay as published; these rows are
marked, so that results can be given with and without them.
"""

from __future__ import annotations

from data_prep.command import run
from data_prep.math_set import ORIGIN, ORIGIN_COMMIT, Hub, MathSet, Repository

# Row in the paper's order, from 0, and key of the text, which tells it in any order.
SUSPECT = {
    41: "0fae5d4b94bd",
    48: "5774023880f3",
    55: "94dfbf604974",
    60: "4d686f6ae2c1",
    71: "c5d1de70b6f3",
    80: "52e8c0a92801",
    84: "ef6a13ee2bb6",
    94: "0e9d97e20a1c",
    96: "bc8515776bb1",
    100: "1589fe518259",
    104: "f152473c70de",
    106: "7439056d1080",
    122: "95b9702efdee",
    127: "aa8ca023cdd7",
    128: "645091d33f9d",
    131: "c6243a1655b6",
    138: "8d0d43db25df",
    142: "d3df462a5844",
    153: "06ded26794ed",
    163: "1db7b085e61f",
    165: "39777ce13c49",
    202: "7e84aa89c4e5",
    215: "62d6e2cea8c4",
    218: "8364fde9064f",
    219: "e4988966260e",
    222: "76fd75412079",
    229: "e3a5248635b8",
    236: "8a34c0647d16",
    238: "79f2e2f55936",
    251: "f57b02e8b101",
    258: "94f8c9304d36",
    266: "9b335ecc2ee7",
}

SET = MathSet(
    name="minerva",
    split="test",
    expected_rows=272,
    hub=Hub(id="math-ai/minervamath", split="test"),
    repository=Repository(
        id=ORIGIN,
        path="datasets/evaluation_suite/minerva",
        revision=ORIGIN_COMMIT,
        checked=True,
    ),
    fingerprint="4b0b3060ea661bb6",
    suspect=frozenset(SUSPECT.values()),
)


if __name__ == "__main__":
    run(SET)

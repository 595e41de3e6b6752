"""Episodes on disk: whole lines that make sense, or a line that says what is wrong."""

import json

import pytest

from holderpo.alfworld.episode_records import (
    EpisodeKey,
    read_episodes,
    to_line,
    write_episodes,
)
from holderpo.alfworld.turns import Outcome
from holderpo.records_folder import remove_cut_off_line
from tests.holderpo.alfworld.episode_samples import episode, game

WON = episode(game(1), malformed=2, inadmissible=8, truncated=3, episode_return=9.8)
FAILED = episode(game(2), Outcome.FAILED, reason="é\u202e\n\x1b[0m", pass_number=2)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "episodes.jsonl"
    assert read_episodes(path) == {}
    write_episodes(path, [WON])
    with path.open("a", encoding="ascii") as file:
        file.write(to_line(FAILED))
    assert list(read_episodes(path).values()) == [WON, FAILED]
    assert WON.key == EpisodeKey(game(1).path, 1)
    row = json.loads(path.read_text().splitlines()[0])
    assert list(row)[:6] == ["game", "task_type", "won", "steps", "outcome", "pass"]
    assert (row["won"], row["outcome"], row["return"]) == (True, "won", 9.8)


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_line_cut_off_by_a_kill_is_no_episode_and_is_removed(tmp_path, cut):
    path = tmp_path / "episodes.jsonl"
    path.write_bytes((to_line(WON) + to_line(FAILED)).encode()[:-cut])
    assert list(read_episodes(path)) == [WON.key]
    remove_cut_off_line(path)
    assert path.read_text() == to_line(WON)


@pytest.mark.parametrize(
    "line",
    [
        *("{}", "[1]", "nonsense", "", to_line(WON), "[" * 100_000),
        *(
            json.dumps({**json.loads(to_line(FAILED)), **change})
            for change in (
                *({"won": True}, {"won": 0}, {"outcome": "lost"}, {"outcome": "won"}),
                *({"reason": ""}, {"task_type": "dance"}, {"steps": -1}, {"steps": 1.0}),
                *({"pass": 0}, {"number": 0}, {"steps": True}, {"malformed": 11}),
                *({"malformed": 6, "inadmissible": 6}, {"truncated": 11}, {"return": "1"}),
                *({"return": float("inf")}, {"game": None}),
            )
        ),
    ],
)
def test_broken_and_repeated_lines_name_file_and_line(tmp_path, line):
    path = tmp_path / "episodes.jsonl"
    path.write_text(f"{to_line(WON)}{line.strip()}\n")
    with pytest.raises(ValueError, match=r"episodes\.jsonl, line 2: .*is played again"):
        read_episodes(path)

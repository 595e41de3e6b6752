"""What was said in an episode, on disk and on a screen."""

import unicodedata

import pytest

from holderpo.alfworld.transcripts import (
    Transcript,
    TranscriptTurn,
    read_transcript,
    show_transcript,
    transcript_line,
)
from tests.holderpo.alfworld.episode_samples import episode, game

EVIL = "\x1b[2J\x07\r\u202e\u200b\x9b"
TURN = TranscriptTurn(
    "You see a mug 1.", ("look", "take mug 1"), "<think>", "look", "valid", "", False
)
RECORD = episode(game(7), steps=2)


def transcript(*turns, end="You won."):
    return Transcript(RECORD.key, turns, end)


def test_the_last_transcript_of_an_episode_counts(tmp_path):
    path = tmp_path / "transcripts.jsonl"
    assert read_transcript(path, RECORD.key) is None
    other = Transcript(episode(game(8)).key, (), "")
    lines = [transcript(end="first"), other, transcript(TURN), other]
    path.write_text("".join(map(transcript_line, lines)) + '{"game": "cut o')
    assert read_transcript(path, RECORD.key) == transcript(TURN)
    assert read_transcript(path, RECORD.key._replace(pass_number=2)) is None


@pytest.mark.parametrize("line", ["nonsense", "{}", "[]", '{"game": "a"}'])
def test_a_broken_line_is_named(tmp_path, line):
    path = tmp_path / "transcripts.jsonl"
    path.write_text(f"{transcript_line(transcript())}{line}\n")
    with pytest.raises(ValueError, match=r"transcripts\.jsonl, line 2: broken"):
        read_transcript(path, RECORD.key)


def test_nothing_of_model_or_game_acts_on_the_terminal(tmp_path):
    evil = TranscriptTurn(EVIL, (EVIL, "look"), f"a{EVIL}\nb", EVIL, "inadmissible", EVIL, True)
    path = tmp_path / "transcripts.jsonl"
    path.write_text(transcript_line(transcript(evil, end=EVIL)))
    # Nor does the file.
    assert path.read_bytes().isascii()
    assert not any(byte < 32 and byte != 10 for byte in path.read_bytes())
    said = read_transcript(path, RECORD.key)
    assert said == transcript(evil, end=EVIL)
    record = episode(game(7, path=f"valid_seen/{EVIL}/game.tw-pddl"))
    shown = show_transcript(record, said)
    assert {unicodedata.category(c)[0] for c in shown.replace("\n", "")} & {"C", "Z"} <= {"Z"}
    assert shown.count("\\x1b[2J\\x07\\r\\u202e\\u200b\\x9b") >= 6


def test_an_episode_is_shown_turn_by_turn():
    second = TranscriptTurn(
        "On it.", ("look",), "<think>\nhm", "dance", "inadmissible", "not admissible", True
    )
    shown = show_transcript(RECORD, transcript(TURN, second)).splitlines()
    assert shown[0] == "episode    7, pass 1 of valid_seen"
    assert "outcome    won after 2 steps, return 10, 0 restarts" in shown
    first = shown.index("--- step 1 ".ljust(80, "-"))
    assert shown[first + 1 : first + 6] == [
        "You see a mug 1.",
        "commands: look, take mug 1",
        "response:",
        "  | <think>",
        "> look",
    ]
    second = shown.index("--- step 2 ".ljust(80, "-"))
    assert shown[second + 3 : second + 7] == [
        "response (cut off):",
        "  | <think>",
        "  | hm",
        "> dance  [inadmissible: not admissible]",
    ]
    assert shown[-1] == "You won."

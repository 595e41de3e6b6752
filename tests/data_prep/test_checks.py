"""What is wrong with rows is found, and nothing else."""

import json

import pytest

from data_prep.checks import find, normalised, read_held_out
from data_prep.math_set import Problem
from data_prep.parquet import verl_row, write_rows


def problems(*texts, golds=("1",)):
    return [Problem(row, text, golds) for row, text in enumerate(texts)]


def found(findings):
    return [(finding.kind, finding.row) for finding in findings]


@pytest.mark.parametrize(
    ("text", "other"),
    [
        (r"Compute\n\[\cos^3 \frac{2 \pi}{7}.\]", r"Compute\n$\cos ^{3} \dfrac{2 \pi}{7}$."),
        ("Find  $x$.\nNow.", "find $x$, now"),
        (r"$\left(d,7\right)$ \text{and} ½", r"\((d, 7)\) and ½"),
    ],
)
def test_markup_and_spacing_do_not_matter(text, other):
    assert normalised(text) == normalised(other)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("$z^4 - z^2 + 1$", "$z^4 + z^2 + 1$"),
        (r"$\cos 150$", r"$\cos(-150)$"),
        ("$k > 0$", "$k < 0$"),
        ("$[1, 2)$", "$(1, 2)$"),
        ("1.5", "15"),
        ("$x^2$", "$x_3$"),
    ],
)
def test_signs_brackets_and_numbers_do(text, other):
    assert normalised(text) != normalised(other)


def test_empty_golds_and_duplicates():
    rows = [
        Problem(0, "What is $x$?", ("1",)),
        Problem(1, "Another", ()),
        Problem(2, "what is x", ("2",)),
        Problem(3, "What is $x$?", ("1",)),
    ]
    findings = find(rows, [])
    assert found(findings) == [("empty", 1), ("duplicate", 2), ("duplicate", 3)]
    assert findings[1].details == {
        "of row": 0,
        "text": "normalised",
        "gold": "['2'] instead of ['1']",
    }
    assert findings[2].details == {"of row": 0, "text": "exact"}


def test_overlap_exact_normalised_and_lookalike(tmp_path):
    published = tmp_path / "exam.jsonl"
    texts = ["Solve $a + b$.", "Solve $c$.", "Solve $d - 1$."]
    published.write_text("".join(json.dumps({"question": text}) + "\n" for text in texts))
    (exam,) = read_held_out([published])
    rows = problems("Solve $c$.", "new", r"solve \(a+b\)", "Solve $d + 1$.")
    findings = find(rows, [exam])
    assert found(findings) == [("overlap", 0), ("overlap", 2), ("lookalike", 3)]
    assert findings[0].details == {"with exam row": 1, "text": "exact"}
    assert findings[1].details == {"with exam row": 0, "text": "normalised"}
    assert findings[2].details == {"with exam row": 2}


def test_held_out_folders_hold_prepared_sets_whose_template_does_not_count(tmp_path):
    row = verl_row(
        data_source="exam",
        prompt="<|user|>Solve $c$.",
        answer=["1"],
        split="test",
        index=0,
        extra={"question": "Solve $c$."},
    )
    write_rows(tmp_path / "exam" / "test.parquet", [row])
    write_rows(tmp_path / "exam" / "train.parquet", [row, row])
    (exam,) = read_held_out([tmp_path])
    assert (exam.name, exam.texts) == ("exam", ["Solve $c$."])
    with pytest.raises(ValueError, match=r"held-out: .*nothing_here; give files"):
        read_held_out([tmp_path / "nothing_here"])


def test_held_out_rows_without_problems_name_their_place(tmp_path):
    path = tmp_path / "exam.jsonl"
    path.write_text('{"text": "x"}\n')
    with pytest.raises(ValueError, match=r"exam\.jsonl, line 1: no field 'problem'.*\['text'\]"):
        read_held_out([path])


def test_golds_that_are_not_graded_correct_against_themselves():
    rows = [
        Problem(0, "a", (r"\frac{1}{2}",)),
        Problem(1, "b", (r"\frac{1}{2",)),  # Its box never closes.
        Problem(2, "c", ("7", "7}")),  # One good alternative does not vouch for the other.
        Problem(3, "d", (r"x \in [0, 1)",)),
    ]
    findings = find(rows, [])
    assert found(findings) == [("unverifiable", 1), ("unverifiable", 2)]
    assert findings[0].details == {"gold": r"\frac{1}{2", "verdict": "no_answer"}

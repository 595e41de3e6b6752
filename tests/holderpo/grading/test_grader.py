"""The grader on forms of answers: what is equal, what is only near, and what is stuck."""

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from holderpo.grading import Status, agrade, grade, grade_many, grader
from holderpo.grading.symbolic import UnparseableError, symbolic_match
from holderpo.grading.worker import judge

STUCK = "\\sum_{n=1}^{10^9} \\frac{1}{n^2}"

EQUAL = [
    ("1/2", "0.5"),
    ("x=5", "5"),
    ("5,6", "6,5"),
    ("x=5 or x=6", "5,6"),
    ("\\{1,2\\}", "2,1"),
    ("(1,2)", "( 1 , 2 )"),
    ("[1,2)", "[1, 2)"),
    ("\\pm 3", "3,-3"),
    ("2\\pm\\sqrt{3}", "2+\\sqrt3, 2-\\sqrt3"),
    ("52_8", "52_{8}"),
    ("52_{\\text{eight}}", "52_8"),
    ("(C)", "\\text{(C)}"),
    ("C", "\\textbf{(C)}"),
    ("(C) 12", "\\text{(C)}"),
    ("Yes", "\\text{yes}"),
    ("25", "25\\%"),
    ("0.25", "25\\%"),
    ("4:30 p.m.", "\\text{4:30 p.m.}"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{bmatrix}1\\\\2\\end{bmatrix}"),
    ("(-\\infty,2)\\cup(3,\\infty)", "(3,\\infty)\\cup(-\\infty,2)"),
    ("$1,000", "1000"),
    ("90^\\circ", "90"),
    ("x\\in[1,2]", "[1,2]"),
    ("f(x)=2x+1", "2x+1"),
    ("5, 6, and 7", "5,6,7"),
    ("\\text{Evelyn}", "evelyn"),
    ("10,\\!080", "x = 10080"),
    ("8.7 \\times 10^8", "8.7e8"),
    ("1.5 million", "1500000"),
    ("0.\\overline{3}", "1/3"),
    ("\\frac{3}{4}", "0.75"),
    ("12 \\text{ inches}", "12 in"),
    ("(3, \\frac{6}{4})", "(3,1.5)"),
    ("\\frac{1}{\\sqrt{2}}", "\\frac{\\sqrt2}{2}"),
    ("2^{10}", "1024"),
    ("x^2+2x+1", "(x+1)^2"),
    ("2\\pi", "2\\cdot\\pi"),
    ("3+2i", "2i+3"),
    ("y=2x+3", "2x-y+3=0"),
    ("x>5", "(5,\\infty)"),
    ("5 \\leq x \\leq 7", "[5,7]"),
    ("(\\sqrt{4},\\frac{2}{4})", "(2,\\frac12)"),
    ("\\{\\sqrt{4},3\\}", "3,2"),
    ("3\\sqrt{2}\\text{ cm}", "3\\sqrt{2}"),
    ("\\ln 2 + \\ln 3", "\\ln 6"),
    ("2(x+1)", "2x+2"),
    ("\\sqrt{16}", "4"),
    ("\\begin{pmatrix} \\sqrt4 \\\\ 1\\end{pmatrix}", "\\begin{pmatrix}2\\\\1\\end{pmatrix}"),
    ("e^{2}", "\\exp(2)"),
    ("\\binom{5}{2}", "10"),
    ("5!", "120"),
    ("\\sin^2 x + \\cos^2 x", "1"),
    ("|x|", "\\left|x\\right|"),
    ("3:4", "3:4"),
    ("6:8", "3:4"),
    ("x = 3, y = 4", "x=3,y=4"),
    ("\\frac{x+1}{2}", "\\frac12(x+1)"),
    ("-\\frac{1}{2}x", "-x/2"),
    ("2/3 \\pi", "\\frac{2\\pi}{3}"),
    ("120\\pi", "120 \\pi \\text{ cm}^2"),
    ("[-2,1]\\cup[3,4]", "[3,4] \\cup [-2,1]"),
    ("\\mathbb{R}", "(-\\infty,\\infty)"),
    ("p-q", "-q+p"),
    ("\\frac{3}{2}", "1\\frac12"),
    ("x^3+3x-6", "3x + x^3 - 6"),
    ("11\\sqrt{2}", "\\sqrt{242}"),
    ("\\emptyset", "\\{\\}"),
    ("k = 2n", "2n"),
    ("6 - 5i", "6-5i"),
    ("1 + \\sqrt{5} \\over 2", "\\frac{1+\\sqrt5}{2}"),
    ("\\frac{1+\\sqrt{5}}{2}", "(1+\\sqrt5)/2"),
    ("(a+b)(a-b)", "a^2-b^2"),
    ("\\log_2 8", "3"),
    ("10^{-2}", "0.01"),
    ("0.5x", "\\frac{x}{2}"),
    ("5\\%", "0.05"),
    ("(-\\infty, 2)", "x<2"),
    ("n(n+1)/2", "\\frac{n^2+n}{2}"),
    ("2\\sqrt{3}", "\\sqrt{12}"),
    ("\\tan^{-1}(1)", "\\frac{\\pi}{4}"),
    ("\\arctan 1", "\\pi/4"),
    ("\\cos 60^\\circ", "\\frac12"),
    ("x=\\frac{1}{2}", "x=0.5"),
    ("A = 5", "5"),
    ("y = x", "x = y"),
    ("\\frac{1}{x}", "x^{-1}"),
    ("3\\text{ or }4", "4, 3"),
    ("x=3 \\text{ or } x=4", "3,4"),
    ("0<x<1", "(0,1)"),
    ("\\{x : x > 2\\}", "(2,\\infty)"),
    ("90", "\\frac{180}{2}"),
    ("7/2", "3.5"),
    ("\\frac{7}{2}", "3\\frac{1}{2}"),
    ("\\text{odd}", "odd"),
    ("Monday", "\\text{Monday}"),
    ("2,3,5", "\\{2,3,5\\}"),
    ("(2,3),(4,5)", "(4,5),(2,3)"),
    ("\\{(2,3),(4,5)\\}", "(4,5),(2,3)"),
    ("x\\ge 3", "[3,\\infty)"),
    ("1{,}000", "1000"),
    ("1\\,000", "1000"),
    ("1 000 000", "1000000"),
    ("\\$12.50", "12.50"),
    ("12.5", "\\$12.50"),
    ("5^{\\text{th}}", "5"),
    ("5th", "5"),
    ("\\frac{\\sqrt{3}}{3}", "\\frac{1}{\\sqrt{3}}"),
    ("\\text{A}", "A"),
    ("\\frac{2}{4}", "\\frac{1}{2}"),
    ("2^{2^{3}}", "256"),
    ("\\boxed{5}", "5"),
    ("**5**", "5"),
    ("answer: 5", "5"),
    ("The answer is 5", "5"),
    ("5 \\text{ apples}", "5"),
    ("x \\in (1,2)", "(1,2)"),
    ("e", "\\exp(1)"),
    ("\\infty", "infinity"),
    ("+\\infty", "\\infty"),
    ("no solution", "\\text{no solution}"),
    ("\\frac{-1}{2}", "-\\frac{1}{2}"),
    ("\\frac{1}{-2}", "-\\frac{1}{2}"),
    ("-1/2", "\\frac{-1}{2}"),
    (".5", "0.5"),
    ("5.0", "5"),
    ("\\frac{10}{4}", "2.5"),
    ("(3,4)", "\\begin{pmatrix}3\\\\4\\end{pmatrix}"),
    ("\\langle 3,4\\rangle", "(3,4)"),
    ("3\\times 10^{2}", "300"),
    ("\\sqrt[3]{8}", "2"),
    ("2 x + 3 y = 6", "4x+6y=12"),
    ("f(x)=x^2", "x^2"),
    ("f(x)=x^2", "y=x^2"),
]

DIFFERENT = [
    ("0.33", "1/3"),
    ("52_9", "52_8"),
    ("52", "52_8"),
    ("(1,2)", "[1,2]"),
    ("(1,2)", "(2,1)"),
    ("5", "6"),
    ("1,2", "1,2,3"),
    ("5 cm", "5 m"),
    ("\\text{No}", "Yes"),
    ("B", "C"),
    ("2.88e-19", "2.88e-18"),
    ("3,4", "34"),
    ("32, 349", "32349"),
    ("-3", "3"),
    ("3", "\\pm 3"),
    ("\\{1,2\\}", "(1,2)"),
    ("1,2", "(1,2)"),
    ("\\emptyset", "0"),
    ("5abc", "5"),
    ("10 million", "10"),
    ("2^{11}", "1024"),
    ("x^2+2x", "(x+1)^2"),
    ("3.14", "\\pi"),
    ("3.1416", "\\pi"),
    ("0.67", "\\frac23"),
    ("\\sqrt{2}", "1.414"),
    ('__import__("os").system("echo 18")', "18"),
    ("17 \\% 18", "18"),
    ("17 18", "18"),
    ("18 or 17", "18"),
    ("not 18", "18"),
    ("18x", "18"),
    ("x", "y"),
    ("\\sqrt{3}", "\\sqrt{2}"),
    ("1/2004!", "1/2006!"),
    ("5 \\text{ or } 6", "5"),
    ("x>5", "[5,\\infty)"),
    ("x=5", "x=6"),
    ("y=2x", "y=3x"),
    ("(1,\\sqrt2)", "(\\sqrt2,1)"),
    ("3:4", "4:3"),
    ("-x", "x"),
    ("3+2i", "3-2i"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}2\\\\1\\end{pmatrix}"),
    ("\\text{five}", "4"),
    ("(C)", "A"),
    ("3\\sqrt{2}\\text{ cm}", "3\\sqrt{2}\\text{ m}"),
    ("2\\pi", "2"),
    ("\\frac{\\pi}{3}", "60"),
    ("10!", "10"),
    ("1,2", "2"),
    ("[5,7]", "(5,7)"),
    ("5 \\leq x < 7", "[5,7]"),
    ("\\mathbb{Z}", "\\mathbb{R}"),
    ("e", "2.718"),
    ("3 4", "34"),
    ("3, 4", "34"),
    ("3.4", "34"),
    ("1/3", "0.333"),
    ("\\frac{1}{3}", "0.3333"),
    ("x^2", "x^3"),
    ("2x", "x^2"),
    ("a", "A"),
    ("n", "N"),
    ("18?", "18"),
    ("18 = 18", "17"),
    ("4 = 5", "5"),
    ("3+2", "6"),
    ("50\\%", "50\\text{ cm}"),
    ("", "5"),
    ("\\text{}", "5"),
    ("5\\text{th}", "6"),
    ("2-\\sqrt{3}", "2\\pm\\sqrt{3}"),
    ("\\{1,2,2\\}", "\\{1,1,2\\}"),
    ("x=1,y=2", "x=2,y=1"),
    ("1", "x=1,2"),
    ("0", "\\emptyset"),
    ("\\infty", "-\\infty"),
    ("1e-7", "2e-7"),
    ("\\sqrt{2}\\times 10^{-9}", "\\sqrt{3}\\times 10^{-9}"),
    ("123_4", "123_5"),
]


def boxed(pairs):
    return [(f"so \\boxed{{{answer}}}", gold) for answer, gold in pairs]


class ThisProcess:
    """Compares at once: every form costs its comparison alone, and has no limit of time."""

    def submit(self, answer, golds, *, timeout_seconds):
        done = Future()
        done.set_result(judge(answer, list(golds), self.compare))
        return done

    def compare(self, answer, gold):
        try:
            return "correct" if symbolic_match(answer, gold) else "wrong"
        except UnparseableError:
            return "unparseable"


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(grader, "shared_pool", ThisProcess)
    monkeypatch.setattr(grader, "_outcomes", grader._Outcomes())


@pytest.mark.usefixtures("in_this_process")
def test_equal_forms_are_correct():
    verdicts = grade_many(boxed(EQUAL))
    assert [pair for pair, verdict in zip(EQUAL, verdicts, strict=True) if not verdict.score] == []


@pytest.mark.usefixtures("in_this_process")
def test_near_misses_are_not():
    verdicts = grade_many(boxed(DIFFERENT))
    assert [pair for pair, verdict in zip(DIFFERENT, verdicts, strict=True) if verdict.score] == []


@pytest.mark.parametrize(
    ("response", "status"),
    [
        ("The answer is 18.", Status.NO_ANSWER),
        ("\\boxed{18", Status.NO_ANSWER),
        ("18, so \\boxed{}", Status.NO_ANSWER),
        ("\\boxed{3}. Wait: \\boxed{18}", Status.CORRECT),
        ("\\boxed{18}. Wait: \\boxed{3}", Status.WRONG),
        ("<answer>17</answer> or 18", Status.WRONG),
        ("<answer>\\boxed{18}</answer>", Status.CORRECT),
        ("\\boxed{1" * 100_000, Status.NO_ANSWER),
        ("$ word " * 150_000 + "\\boxed{18}", Status.CORRECT),
    ],
)
def test_only_the_last_complete_box_or_tag_counts(response, status):
    assert grade(response, "18").status is status


def test_a_stuck_answer_times_out_and_the_next_is_graded_as_if_nothing_had_happened():
    started = time.monotonic()
    stuck, right = grade_many([(f"\\boxed{{{STUCK}}}", "18"), ("\\boxed{\\sqrt{324}}", "18")])
    assert (stuck.status, right.status) == (Status.TIMEOUT, Status.CORRECT)
    assert time.monotonic() - started < 30


def test_the_hard_limit_kills_the_process():
    verdict = grade("\\boxed{\\prod_{n=1}^{10^7} n}", "19", timeout_seconds=0.2)
    assert verdict.status is Status.TIMEOUT
    assert grade("\\boxed{\\sqrt{361}}", "19").status is Status.CORRECT


@pytest.mark.parametrize("gold", [None, b"18", [None]])
def test_a_gold_of_another_type_is_an_error_that_names_it(gold):
    with pytest.raises(TypeError, match="gold"):
        grade("\\boxed{18}", gold)


def test_any_gold_of_a_list_is_right_and_an_empty_one_is_an_error():
    assert grade("\\boxed{6}", ["5", "6"]).status is Status.CORRECT
    assert grade("\\boxed{6}", [""]).status is Status.ERROR


def test_many_threads_at_once():
    pairs = [(f"\\boxed{{\\sqrt{{{2 * n * n}}}}}", f"{n + n % 2}\\sqrt{{2}}") for n in range(2, 22)]
    with ThreadPoolExecutor(8) as threads:
        verdicts = list(threads.map(lambda pair: grade(*pair), pairs))
    assert [verdict.score for verdict in verdicts] == [1.0, 0.0] * 10


def test_a_coroutine_waits_without_blocking_the_loop_and_may_be_cancelled():
    async def run():
        gaps, stop = [], False

        async def tick():
            while not stop:
                began = time.monotonic()
                await asyncio.sleep(0.01)
                gaps.append(time.monotonic() - began)

        ticking = asyncio.create_task(tick())
        stuck = [agrade(f"\\boxed{{{STUCK}}}", "18") for _ in range(3)]
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(stuck[0], 0.2)
        right = agrade("\\boxed{\\sqrt{2}+\\sqrt{2}}", "2\\sqrt{2}")
        verdicts = await asyncio.gather(*stuck[1:], right)
        stop = True
        await ticking
        assert max(gaps) < 0.3
        return [verdict.status for verdict in verdicts]

    assert asyncio.run(run()) == [Status.TIMEOUT, Status.TIMEOUT, Status.CORRECT]


class FakePool:
    """Hands out futures that the test resolves."""

    def __init__(self):
        self.asked = []

    def submit(self, answer, golds, *, timeout_seconds):
        self.asked.append((answer, Future()))
        return self.asked[-1][1]


def test_equal_answers_are_compared_once_and_only_verdicts_are_kept(monkeypatch):
    fake = FakePool()
    monkeypatch.setattr(grader, "shared_pool", lambda: fake)
    monkeypatch.setattr(grader, "REMEMBERED_VERDICTS", 2)
    outcomes = grader._Outcomes()
    same = [outcomes.get("a", ("g",), 1.0) for _ in range(8)]
    assert len(fake.asked) == 1
    same[0].set_result("correct")
    assert outcomes.get("a", ("g",), 1.0) is Status.CORRECT
    for answer, outcome in [("b", "timeout"), ("c", "wrong"), ("d", "unparseable")]:
        outcomes.get(answer, ("g",), 1.0).set_result(outcome)
    assert outcomes.get("c", ("g",), 1.0) is Status.WRONG
    assert outcomes.get("d", ("g",), 1.0) is Status.UNPARSEABLE
    outcomes.get("b", ("g",), 1.0), outcomes.get("a", ("g",), 1.0)
    assert [answer for answer, _ in fake.asked] == ["a", "b", "c", "d", "b", "a"]


@pytest.mark.parametrize(
    ("response", "gold", "message"),
    [
        (None, "18", "response: NoneType; give a text"),
        (b"\\boxed{18}", "18", "response: bytes; give a text"),
        (18, "18", "response: int; give a text"),
        ("\\boxed{18}", None, "gold: NoneType; give a text, a number or a list of texts"),
        ("\\boxed{18}", b"18", "gold: bytes; give"),
        ("\\boxed{18}", {"18": 1}, "gold: dict; give"),
        ("\\boxed{18}", True, "gold: a list with bool|gold: bool"),
        ("\\boxed{18}", ["18", None], "gold: a list with NoneType; give a list of texts"),
    ],
)
def test_arguments_of_another_type_are_named(response, gold, message):
    with pytest.raises(TypeError, match=message):
        grade_many([("\\boxed{1}", "1"), (response, gold)])


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), None, "5"])
def test_a_limit_must_be_above_0(seconds):
    with pytest.raises(ValueError, match=r"timeout_seconds.*above 0"):
        grade("\\boxed{1}", "1", timeout_seconds=seconds)


def test_numbers_may_be_golds():
    pairs = [("\\boxed{142}", 142.0), ("\\boxed{18}", [17, 18]), ("\\boxed{0.5}", 0.5)]
    assert [verdict.score for verdict in grade_many(pairs)] == [1.0, 1.0, 1.0]


def test_a_lone_surrogate_is_an_answer_like_any_other():
    assert grade("\\boxed{\ud800 + \\sqrt{2}}", "\\sqrt{2}").score == 0


def test_a_deeply_nested_answer_is_given_up_unless_the_gold_is_the_same():
    nested = "(" * 60 + "x+1" + ")" * 60
    assert grade(f"\\boxed{{{nested}}}", "18+x").status is Status.UNPARSEABLE
    assert grade(f"\\boxed{{{nested}}}", nested).status is Status.CORRECT

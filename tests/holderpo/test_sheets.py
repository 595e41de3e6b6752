"""Tables that fit a terminal, with everything still in them."""

import io

import pytest
import rich.console

from holderpo.sheets import WIDTH, Sheet, fit, markdown, show


def screen_of(sheets):
    """On a wide screen, which folds nothing."""
    screen = io.StringIO()
    for sheet in sheets:
        show(sheet, rich.console.Console(file=screen, width=300))
    return screen.getvalue().splitlines()


def markdown_of(sheets):
    return [line for sheet in sheets for line in markdown(sheet).splitlines()]


def test_a_narrow_table_stays_as_it_is():
    sheet = Sheet("t", ["arm", "mean"], [["grpo", "0.5"], ["a|b", "1"]], broken=("arm",))
    assert fit(sheet) == [sheet]
    assert markdown(sheet).splitlines() == [
        "| arm  | mean |",
        "| ---- | ---- |",
        "| grpo | 0.5  |",
        "| a\\|b | 1    |",
    ]


def test_long_cells_go_on_in_rows_of_their_own():
    seeds = ", ".join(map(str, range(100, 140)))
    sheet = Sheet("t", ["arm", "seeds", "n"], [["a", seeds, "40"], ["b", "1", "1"]], ("seeds",))
    (fitted,) = fit(sheet)
    assert fitted.width <= WIDTH
    assert " ".join(row[1] for row in fitted.rows[:-1]) == seeds
    assert [row[0] for row in fitted.rows] == ["a", *[""] * (len(fitted.rows) - 2), "b"]


def test_columns_without_room_go_to_further_tables_beside_their_keys():
    headings = ["p", *(f"heading {number}" for number in range(20))]
    rows = [[f"{p:+d}", *(f"{p}.{number}" for number in range(20))] for p in (-2, 2)]
    sheets = fit(Sheet("t", headings, rows))
    assert max(sheet.width for sheet in sheets) <= WIDTH < Sheet("t", headings, rows).width
    assert {sheet.headings[0] for sheet in sheets} == {"p"}
    shown = [cell for sheet in sheets for row in sheet.rows for cell in row[1:]]
    assert sorted(shown) == sorted(cell for row in rows for cell in row[1:])


@pytest.mark.parametrize("num_columns", [1, 5, 30])
def test_markdown_and_screen_are_as_wide_as_the_table_says(num_columns):
    headings = [f"column|{number}" for number in range(num_columns)]
    row = ["[bold]x" * (number % 3) for number in range(num_columns)]
    sheets = fit(Sheet("", headings, [row]))
    for lines in (markdown_of(sheets), screen_of(sheets)):
        assert lines
        assert max(map(len, lines)) <= WIDTH
    assert max(map(len, markdown_of(sheets))) == max(sheet.width for sheet in sheets)
    assert "".join(screen_of(sheets)).count("[bold]x") == sum(cell.count("x") for cell in row)

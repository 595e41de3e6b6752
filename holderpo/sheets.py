"""Tables of text that fit a terminal of 80 columns, in Markdown and on a screen alike."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

WIDTH = 80
# Columns are broken no narrower than this.
_NARROWEST = 8


class Sheet(NamedTuple):
    """A table: the same for Markdown and terminal."""

    title: str
    """Above it; may be empty."""
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    broken: Collection[str] = ()
    """Headings of columns whose cells may go on in further rows, whose other cells are empty."""

    @property
    def widths(self) -> list[int]:
        """Of the columns, characters; a vertical line has a backslash before it in Markdown."""
        columns = zip(self.headings, *self.rows, strict=True)
        return [max(3, *(len(cell) + cell.count("|") for cell in column)) for column in columns]

    @property
    def width(self) -> int:
        """Of the table, with the lines between the columns."""
        return sum(self.widths) + 3 * len(self.headings) + 1


def fit(sheet: Sheet, *, num_keys: int = 1) -> list[Sheet]:
    """A table in the width of a terminal, nothing left out.

    Columns that may be broken are, as far as needed; if that is not enough, the others go into
    further tables, each with the first columns.

    Args:
        sheet: of any width.
        num_keys: columns that say what a row is about.

    Returns:
        One table, or several; only a single column that is too wide for itself stays so.
    """
    sheet = _break(sheet)
    if sheet.width <= WIDTH:
        return [sheet]
    groups: list[list[int]] = []
    for column in range(num_keys, len(sheet.headings)):
        wider = [*groups[-1], column] if groups else [column]
        if not groups or _columns(sheet, wider, num_keys).width > WIDTH:
            groups.append([column])
        else:
            groups[-1] = wider
    return [_columns(sheet, group, num_keys) for group in groups]


def _columns(sheet: Sheet, columns: Sequence[int], num_keys: int) -> Sheet:
    chosen = [*range(num_keys), *columns]
    rows = [[row[column] for column in chosen] for row in sheet.rows]
    # Rows that a broken cell of another column needed.
    rows = [row for row in rows if any(row)]
    return Sheet(sheet.title, [sheet.headings[column] for column in chosen], rows)


def _break(sheet: Sheet) -> Sheet:
    """Break cells, those of the widest columns first, until the table fits or none is left."""
    limits = sheet.widths
    narrowest = [max(_NARROWEST, len(heading)) for heading in sheet.headings]
    breakable = [index for index, name in enumerate(sheet.headings) if name in sheet.broken]
    while sum(limits) + 3 * len(limits) + 1 > WIDTH:
        wide = [index for index in breakable if limits[index] > narrowest[index]]
        if not wide:
            break
        limits[max(wide, key=lambda index: limits[index])] -= 1
    rows = []
    for row in sheet.rows:
        cells = [textwrap.wrap(cell, limit) for cell, limit in zip(row, limits, strict=True)]
        for line in range(max(1, *map(len, cells))):
            rows.append([cell[line] if line < len(cell) else "" for cell in cells])
    return sheet._replace(rows=rows)


def markdown(sheet: Sheet) -> str:
    """The table without its title; columns are aligned, so it can be read as it is.

    Args:
        sheet: to show.

    Returns:
        Markdown, without a newline at its end.
    """
    rows = [[cell.replace("|", "\\|") for cell in row] for row in [sheet.headings, *sheet.rows]]
    widths = sheet.widths
    rows.insert(1, ["-" * width for width in widths])
    lines = (
        " | ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(f"| {line} |" for line in lines)


def show(sheet: Sheet, console: Console) -> None:
    """The table on a screen.

    Args:
        sheet: to show.
        console: where.
    """
    table = Table(title=escape(sheet.title) or None, title_justify="left", title_style="bold")
    for heading in sheet.headings:
        table.add_column(escape(heading), overflow="fold")
    for row in sheet.rows:
        table.add_row(*map(escape, row))
    console.print(table)

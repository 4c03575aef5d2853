"""Tables of every command: nothing that a table says is cut, on any width or in a pipe.

Rules:
 * A table that does not fit is folded between words; where not even single words fit, each row becomes a list of
   ``head  value`` lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from router.core.visible_text import visible

_EDGES = {id(box.HEAVY_HEAD): (1, 3), id(box.SIMPLE): (2, 3)}  # of a table, and of each column, in columns


def show_table(
    console: Console,
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    caption: str = "",
    right: Sequence[int] = (),
    style: box.Box = box.HEAVY_HEAD,
) -> None:
    """Print a table with all of its heads and values.

    Args:
        console: Where to.
        heads: Of the columns.
        rows: A value for each head; printed as text.
        title: Above it.
        caption: Below it.
        right: Columns, from 0, whose values stand at the right.
        style: Its lines.
    """
    cells = [[visible(str(value)) for value in row] for row in rows]
    widths = _widths(heads, cells, console.width, _EDGES[id(style)])
    if not widths:
        _show_lists(console, heads, cells, title, caption)
        return
    table = Table(box=style, title=Text(title) if title else None, title_justify="left")
    for position, (head, width) in enumerate(zip(heads, widths, strict=True)):
        table.add_column(Text(head), width=width, overflow="fold", justify="right" if position in right else "left")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
    if caption:
        console.print(Text(caption, style="dim italic"), soft_wrap=True)


def _widths(heads: Sequence[str], rows: list[list[str]], width: int, edges: tuple[int, int]) -> list[int]:
    """Columns for each head so that all words stay whole; empty where there is too little room."""
    columns = [[head, *(row[position] for row in rows)] for position, head in enumerate(heads)]
    widths = [max(max(map(cell_len, cell.split("\n"))) for cell in column) for column in columns]
    least = [max((cell_len(word) for cell in column for word in cell.split()), default=1) for column in columns]
    width -= edges[0] + edges[1] * len(heads)
    if sum(least) > width:
        return []
    while sum(widths) > width:
        widest = max(
            (position for position in range(len(heads)) if widths[position] > least[position]), key=widths.__getitem__
        )
        widths[widest] -= 1
    return widths


def _show_lists(console: Console, heads: Sequence[str], rows: list[list[str]], title: str, caption: str) -> None:
    if title:
        console.print(Text(title, style="italic"), soft_wrap=True)
    indent = max(map(cell_len, heads))
    for row in rows:
        for head, cell in zip(heads, row, strict=True):
            console.print(Text(f"  {head}{' ' * (indent - cell_len(head))}  {cell}".rstrip()), soft_wrap=True)
        console.print()
    if caption:
        console.print(Text(caption), soft_wrap=True)

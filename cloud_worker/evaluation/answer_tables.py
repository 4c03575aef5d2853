"""Tables of several models' answers to the same queries, and the files that say what they cost.

Rules:
 * A table is CSV, plain or gzipped: one row per query and model.
 * Every query has an answer of every model, or the first one that has not is named.
 * What can't be read, or can't be meant, is refused with file and line.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import tomllib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from router.core.arrays import Array
from router.core.errors import DataError

COLUMNS = ("query", "model", "log_confidence", "correct", "cost_usd", "tokens_in", "tokens_out")


@dataclass(frozen=True, slots=True)
class AnswerTable:
    """What each model answered to each query, models in the order of the table.

    Attributes:
        models: Their names.
        log_confidence: (queries, models) natural logarithm of the answer's probability, <= 0.
        correct: (queries, models) 1 where the answer is right, else 0.
        usd: (models,) mean price of one answer.
        tokens: (models,) mean tokens read and written.
    """

    models: tuple[str, ...]
    log_confidence: Array
    correct: Array
    usd: Array
    tokens: Array

    def only(self, models: tuple[str, ...]) -> AnswerTable:
        """The same for some models, in their order."""
        positions = [self.models.index(model) for model in models]
        return AnswerTable(
            models,
            self.log_confidence[:, positions],
            self.correct[:, positions],
            self.usd[positions],
            self.tokens[positions],
        )


def read_answers(path: Path) -> AnswerTable:
    """Read a table of answers.

    Raises:
        DataError: Names the file, and the line or the query.
    """
    found: dict[tuple[str, str], tuple[float, ...]] = {}
    for line, row in _rows(path, COLUMNS):
        numbers = tuple(_number(path, line, row, column) for column in COLUMNS[2:])
        _check(path, line, row, numbers)
        if found.setdefault((row["query"], row["model"]), numbers) is not numbers:
            raise DataError(str(path), line, f"{row['model']} answers query {row['query']} a second time")
    models = tuple(dict.fromkeys(model for _, model in found))
    queries = tuple(dict.fromkeys(query for query, _ in found))
    if not found:
        raise DataError(str(path), 0, "holds no answer")
    for query in queries:
        for model in models:
            if (query, model) not in found:
                raise DataError(str(path), 0, f"{model} has no answer to query {query}")
    values = np.array([[found[query, model] for model in models] for query in queries])  # (queries, models, columns)
    tokens = (values[:, :, 3] + values[:, :, 4]).mean(axis=0)
    return AnswerTable(models, values[:, :, 0], values[:, :, 1], values[:, :, 2].mean(axis=0), tokens)


def _check(path: Path, line: int, row: dict[str, str], numbers: tuple[float, ...]) -> None:
    log_confidence, correct, *amounts = numbers
    if log_confidence > 0:
        said = f"log_confidence is {row['log_confidence']!r}; use the natural logarithm of a probability, 0 or less"
        raise DataError(str(path), line, said)
    if correct not in (0.0, 1.0):
        raise DataError(str(path), line, f"correct is {row['correct']!r}; use 0 or 1")
    for column, amount in zip(COLUMNS[4:], amounts, strict=True):
        if amount < 0:
            raise DataError(str(path), line, f"{column} is {row[column]!r}; use 0 or more")


def read_prices(path: Path) -> dict[str, float]:
    """Read prices, ``model = USD per million tokens``; their order numbers the models.

    Raises:
        DataError: Names the file and the model.
    """
    try:
        prices = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(str(path), 0, f"can't be read as TOML: {error}") from error
    if not prices:
        raise DataError(str(path), 0, "names no model; write lines such as small = 0.1")
    for model, price in prices.items():
        if isinstance(price, dict):
            raise DataError(str(path), 0, f"{model} is a table; write a name that holds dots in quotes")
        if isinstance(price, bool) or not isinstance(price, int | float) or not 0 < price < math.inf:
            raise DataError(str(path), 0, f"{model} is {price!r}; use a price in USD per million tokens, above 0")
    return {model: float(price) for model, price in prices.items()}


def read_bounds(path: Path) -> dict[str, tuple[float, float]]:
    """Read between which costs the area of each cascade is taken.

    Raises:
        DataError: Names the file and the line.
    """
    bounds: dict[str, tuple[float, float]] = {}
    for line, row in _rows(path, ("cascade", "cost_lo", "cost_hi")):
        low, high = _number(path, line, row, "cost_lo"), _number(path, line, row, "cost_hi")
        if not low < high:
            raise DataError(str(path), line, "cost_lo is not below cost_hi")
        if bounds.setdefault(row["cascade"], (low, high)) != (low, high):
            raise DataError(str(path), line, f"has other bounds for cascade {row['cascade']} than a line before")
    return bounds


def answer_costs(table: AnswerTable, prices: dict[str, float] | None) -> Array:
    """What one answer of each model costs: tokens times price in millionths of a USD, or the table's own USD."""
    if prices is None:
        return table.usd
    return np.asarray(table.tokens * np.array([prices[model] for model in table.models]))


def parse_chains(text: str, models: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The chains that ``--chains`` names: ``all``, or ``m1,m2;m1,m3``.

    Args:
        text: As given.
        models: In their order.

    Raises:
        DataError: Names what is wrong with which chain.
    """
    if len(models) < 2:
        raise DataError("--chains", 0, f"a chain takes two models, and there is only {', '.join(models)}")
    if text == "all":
        return [chain for size in range(2, len(models) + 1) for chain in combinations(models, size)]
    chains = []
    for part in text.split(";"):
        chain = tuple(name.strip() for name in part.split(","))
        unknown = [name for name in chain if name not in models]
        if unknown:
            raise DataError("--chains", 0, f"{unknown[0]!r} is not among {', '.join(models)}")
        if len(set(chain)) < 2 or len(set(chain)) != len(chain):
            raise DataError("--chains", 0, f"{part!r} needs two different models or more")
        chains.append(chain)
    return chains


def chain_name(chain: tuple[str, ...], models: tuple[str, ...]) -> str:
    """The chain by its models' numbers, as in ``0->3``."""
    return "->".join(str(models.index(model)) for model in chain)


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(_content(path), newline=""), strict=True)
    try:
        _check_header(path, list(reader.fieldnames or []), columns)
        for row in reader:
            if any(row[column] in (None, "") for column in columns):
                raise DataError(str(path), reader.line_num, "misses a value")
            if None in row:
                raise DataError(str(path), reader.line_num, "has more values than the header has names")
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(str(path), reader.line_num + 1, f"is not CSV that can be read: {error}") from error


def _content(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(str(path), 0, f"can't be read: {error}") from error


def _check_header(path: Path, names: list[str], columns: tuple[str, ...]) -> None:
    missing = [column for column in columns if column not in names]
    if missing:
        raise DataError(str(path), 1, f"has no column {missing[0]!r}")
    twice = [column for column in columns if names.count(column) > 1]
    if twice:
        raise DataError(str(path), 1, f"has two columns named {twice[0]!r}")


def _number(path: Path, line: int, row: dict[str, str], column: str) -> float:
    try:
        number = float(row[column])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(str(path), line, f"{column} is {row[column]!r}; use a number")
    return number

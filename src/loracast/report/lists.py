"""What the commands that list something print: the runs of an experiment, the backbones, the methods, one count.

Made of rows as they are, without a frame: what is listed in a blink must not wait for pandas.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loracast.report.readable import ABSENT, count
from loracast.report.render import Column, Row, Table, table_of

Facts = Mapping[str, Any]


def words_as_they_are(head: str, name: str | None = None) -> Column:
    """A column of words as they are; nothing where there are none."""
    key = head if name is None else name
    return Column(head, lambda row: "" if row[key] is None else str(row[key]), words=True)


def status_table(rows: Sequence[Facts]) -> Table:
    """The runs of an experiment (arm, seed, state, reason) in order, with a count of each state."""
    counts = Counter(row["state"] for row in rows)
    placed = [{**row, "place": place} for place, row in enumerate(rows, start=1)]
    columns = (
        Column("#", lambda row: str(row["place"])),
        words_as_they_are("arm"),
        Column("seed", lambda row: str(row["seed"])),
        words_as_they_are("state"),
        words_as_they_are("why", "reason"),
    )
    return table_of(placed, columns, title=", ".join(f"{number} {state}" for state, number in counts.items()))


def catalogue_table(rows: Sequence[Facts]) -> Table:
    """The models: family, name, licence, where their weights are, and their sizes where they have some."""
    columns = [words_as_they_are(name) for name in ("family", "name", "licence", "weights")]
    columns += [Column(name, _counted(name)) for name in ("parameters", "context", "horizon")]
    return table_of(rows, columns)


def _counted(name: str) -> Callable[[Row], str]:
    return lambda row: count(row[name])


def experiments_table(rows: Sequence[Facts]) -> Table:
    """The experiments that come with loracast: name, what they ask, and whose data they read."""
    words = map(words_as_they_are, ("experiment", "asks", "source", "data"))
    columns = (*words, Column("seeds", lambda row: str(row["seeds"])))
    note = "data: where it is looked for from here, unless --data names another place."
    return table_of(rows, columns, notes=[note])


def methods_table(rows: Sequence[Facts]) -> Table:
    """The methods: a column a model, with trained numbers or a dash, the reasons below."""
    numbers = {(row["method"], row["backbone"]): row["trainable_parameters"] for row in rows}
    columns = [
        words_as_they_are("method"),
        words_as_they_are("what it trains", "summary"),
        words_as_they_are("size"),
        Column("rate", lambda row: ABSENT if row["learning_rate"] is None else f"{row['learning_rate']:g}"),
    ]
    for model in dict.fromkeys(row["backbone"] for row in rows):

        def trained(row: Row, model: str = model) -> str:
            return count(numbers.get((row["method"], model)))

        columns.append(Column(model, trained))
    reasons = dict.fromkeys(f"{row['method']}: {row['refused']}" for row in rows if row["refused"] is not None)
    notes = ["Trained numbers at the method's default size and sites.", *reasons]
    first = {row["method"]: row for row in reversed(rows)}
    return table_of([first[name] for name in dict.fromkeys(row["method"] for row in rows)], columns, notes=notes)


def params_table(row: Facts) -> Table:
    """How many numbers one method trains on one model."""
    columns = (
        words_as_they_are("backbone"),
        words_as_they_are("method"),
        words_as_they_are("size"),
        words_as_they_are("sites"),
        Column("trained numbers", _counted("trainable_parameters")),
        Column("numbers in the backbone", _counted("total_parameters")),
        Column("share", lambda row: f"{row['trainable_parameters'] / row['total_parameters']:.3%}"),
    )
    return table_of([{"size": None, "sites": None, **row}], columns)

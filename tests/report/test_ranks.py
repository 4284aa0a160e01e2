"""The rank sweep as Markdown."""

from loracast.report.ranks import RANK_HEADS, THRESHOLD_HEADS, rank_markdown, relation_markdown, threshold_markdown
from tests.report.study import RANKS, sweep_of


def tables_of(text: str) -> list[list[str]]:
    """The lines of each table in a Markdown text."""
    parts = [part.splitlines() for part in text.split("\n\n")]
    return [part for part in parts if part[0].startswith("|")]


def test_the_markdown_has_the_thresholds_and_then_every_rank() -> None:
    text = rank_markdown(sweep_of())
    thresholds, errors = tables_of(text)
    assert len(thresholds) == 2 + 3
    assert len(errors) == 2 + 3 * (len(RANKS) + 2)
    assert {line.count("|") for line in thresholds} == {len(THRESHOLD_HEADS) + 1}
    assert {line.count("|") for line in errors} == {len(RANK_HEADS) + 1}
    assert "Rule: the smallest rank whose validation error is not shown worse than that of the best rank." in text


def test_a_row_says_the_error_its_interval_and_whether_it_is_worse() -> None:
    line = next(line for line in rank_markdown(sweep_of()).splitlines() if "| all signals (MASE) | 1 |" in line)
    assert (
        "| 6,144 | 0.874 [0.812, 0.943] | 0.926 [0.861, 1.000] | +0.0277 [0.0237, 0.0317] worse | no | 31 s |" in line
    )


def test_a_threshold_names_the_rank_of_each_seed() -> None:
    line = next(line for line in rank_markdown(sweep_of()).splitlines() if line.startswith("| heart rate | MAE"))
    assert line.startswith("| heart rate | MAE | 8 | 4 | 4, 4, 2 |")


def test_a_bare_sweep_and_a_bar_in_a_name_make_a_table_still() -> None:
    rows = [{"signal": "a|b", "rank": rank, "validation": {"value": 1.0 / rank}} for rank in (2, 1)]
    text = rank_markdown({"rows": rows, "thresholds": {"a|b": {"rank": None, "best_rank": 2}}})
    _, errors = tables_of(text)
    assert [line.split(" | ")[1] for line in errors[2:]] == ["1", "2"]
    assert "a\\|b" in text
    assert "None" not in text


def test_thresholds_alone_are_the_beginning_of_the_whole():
    sweep = sweep_of()
    assert rank_markdown(sweep).startswith(threshold_markdown(sweep))


def test_a_relation_tells_what_may_not_be_concluded():
    relation = {
        "rows": [
            {"data": "one", "signal": "heart_rate", "rank": 2, "beats_zero_shot": True, "length": 48.0, "noise": None},
            {"data": "two", "signal": "glucose", "rank": 8, "beats_zero_shot": False, "length": 960.0, "noise": 0.012},
        ],
        "properties": {"length": "median observed steps", "noise": "share of the variance"},
        "warning": "2 rows describe and do not prove.",
    }
    lines = relation_markdown(relation).splitlines()
    assert lines[2] == "| one | heart rate | 2 | shown | 48.0 | – |"
    assert lines[3] == "| two | glucose | 8 | not shown | 960 | 0.0120 |"
    assert "2 rows describe and do not prove." in lines
    assert lines[-1] == "- noise: share of the variance"

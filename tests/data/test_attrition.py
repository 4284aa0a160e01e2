import json

from loracast.data.attrition import Attrition, Note, attrition_path, write_attrition


def example():
    attrition = Attrition()
    attrition.add("stays", patients=10, stays=12)
    attrition.add("adults", patients=9, stays=10)
    attrition.add("rows of the items", rows=100, signals={"map": 60, "spo2": 40})
    attrition.add("with a value", patients=9, stays=9, rows=90, signals={"map": 50, "spo2": 40})
    return attrition


def test_what_a_step_drops_follows_from_the_last_step_that_knew():
    steps = example().as_json()["steps"]
    assert [step["dropped_stays"] for step in steps] == [0, 2, None, 1]
    assert [step["dropped_patients"] for step in steps] == [0, 1, None, 0]
    assert [step["dropped_rows"] for step in steps] == [None, None, 0, 10]
    assert steps[2]["patients"] is None


def test_the_text_is_an_aligned_table_that_shows_what_was_dropped():
    lines = example().as_text().splitlines()
    assert lines[0].split() == ["step", "patients", "stays", "rows", "map", "spo2"]
    assert "9 (-1)" in lines[3]
    assert "10 (-2)" in lines[3]
    ends = {line.rfind("  ") for line in lines[4:]}
    assert len({len(line) for line in lines[4:]}) == 1
    assert len(ends) == 1


def test_the_file_stands_beside_the_table_under_its_name(tmp_path):
    out = tmp_path / "vitals.parquet"
    assert attrition_path(out) == tmp_path / "vitals.attrition.json"
    write_attrition(example(), out)
    assert json.loads(attrition_path(out).read_text()) == example().as_json()


def test_what_to_notice_and_who_loses_a_signal_stand_below_the_table_and_in_the_file():
    attrition = Attrition([], [Note("Look here.", "map", 2, 30)])
    attrition.add("rows given", patients=3, stays=3, rows=9, signals={"map": 9})
    attrition.add("with a value", patients=3, stays=3, rows=5, signals={"map": 5}, lost={"map": 2})
    assert attrition.as_text().splitlines()[-2:] == ["2 patients left without map at: with a value", "Note: Look here."]
    content = attrition.as_json()
    assert content["notes"] == [{"text": "Look here.", "signal": "map", "patients": 2, "rows": 30}]
    assert [step["lost"] for step in content["steps"]] == [None, {"map": 2}]

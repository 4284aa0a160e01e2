"""A study is built in Python or read from a file, runs as `loracast run` does, and gives a result."""

import pytest

import loracast as lc
from loracast.spec import parse


def test_a_study_of_objects_is_that_of_a_file(vitals, tiny):
    built = lc.Study(
        name="small",
        data=vitals,
        arms=[str(tiny), (str(tiny), lc.LoRA(rank=1)), {"model": str(tiny), "method": "full"}],
        windows=lc.WindowSpec(context=24, horizon=6),
        training={"steps": 2},
        seeds=[0, 1],
    )
    content = {
        "name": "small",
        "data": {"source": "table", "path": str(vitals.path)},
        "arms": [
            {"model": str(tiny), "method": "zero-shot"},
            {"model": str(tiny), "method": "lora", "rank": 1},
            {"model": str(tiny), "method": "full"},
        ],
        "windows": {"context": 24, "horizon": 6},
        "training": {"steps": 2},
        "seeds": [0, 1],
    }
    assert built.spec == parse(lc.ExperimentSpec, content, "it")
    assert repr(built) == "Study(small: 6 arms, 2 seeds)"
    assert "tiny-t5 lora r=1" in built._repr_html_()


@pytest.mark.usefixtures("one_figure")
def test_a_study_runs_into_a_folder_and_what_it_found_is_compared(vitals, tiny, tmp_path):
    study = lc.Study(
        data=vitals, arms=[str(tiny), (str(tiny), lc.LoRA(rank=1))], windows={"context": 24, "horizon": 6},
        training={"steps": 2, "evaluate_every": 1}, forecast=lc.ForecastSpec(samples=2),
    )  # fmt: skip
    found = study.run(tmp_path / "out", progress=False)
    assert found.arms[3:] == ["tiny-t5 zero-shot", "tiny-t5 lora r=1"]
    assert found.compare("tiny-t5 lora r=1", "tiny-t5 zero-shot")["patients"].tolist() == [1, 1]
    assert found.compare("tiny-t5 lora r=1", "tiny-t5 zero-shot")["verdict"].isna().all(), "one patient says nothing"
    assert found.report() == tmp_path / "out" / "report.html"
    assert lc.Result.read(tmp_path / "out").leaderboard().equals(found.leaderboard())


def test_a_study_is_read_from_a_file(bench_toml):
    assert lc.Study.from_toml(bench_toml).spec.name == "read"


@pytest.fixture
def bench_toml(vitals, tmp_path):
    file = tmp_path / "read.toml"
    file.write_text(
        f'name = "read"\ndata = {{ source = "table", path = "{vitals.path}" }}\n'
        'arms = [{ model = "chronos-t5-nano", method = "zero-shot" }]\n'
    )
    return file


def test_a_study_of_nothing_is_refused(vitals, bench_toml):
    spec = lc.Study.from_toml(bench_toml).spec
    refused = [
        (lambda: lc.Study(), "Give data and arms"),
        (lambda: lc.Study(spec, data=vitals), "Give either the spec"),
        (lambda: lc.Study(data=vitals, arms=[("a", "b", "c")]), "An arm of 3 parts"),
        (lambda: lc.Study(data=[1], arms=["last-value"]), r"A list given, .*from_frame"),
        (lambda: lc.Study(data=vitals, arms=["last-value"], seeds=[-1]), r"seeds\.0"),
        (lambda: lc.Study.from_toml("no-such-study.toml"), "no-such-study"),
    ]
    for ask, why in refused:
        with pytest.raises(lc.ConfigError, match=why):
            ask()

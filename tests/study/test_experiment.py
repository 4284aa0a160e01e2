"""What an experiment may ask for, what is filled in, and what is refused by its name."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from loracast.errors import ConfigError
from loracast.spec import parse
from loracast.study.experiment import ExperimentSpec, read_experiment
from loracast.study.packaged import packaged
from loracast.tuning.methods import methods

EXPERIMENTS = list(packaged().values())

PLAIN = """
name = "plain"
seeds = [0, 1]
[data]
source = "table"
path = "vitals.parquet"
[windows]
context = 24
horizon = 6
[[arms]]
model = "chronos-t5-nano"
method = "zero-shot"
[[arms]]
model = "chronos-t5-nano"
method = "lora"
"""


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str = PLAIN, **replaced: str) -> Path:
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "plain.toml").write_text(text, encoding="utf-8")
        return tmp_path / "plain.toml"

    return write


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_packaged_experiment_is_valid_and_called_after_its_file(path):
    spec = read_experiment(path)
    assert spec.name in (path.stem, f"{path.parent.name}-{path.stem}")
    assert {arm.method.name for arm in spec.arms} <= set(methods())


def test_there_are_experiments_to_read():
    assert EXPERIMENTS


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_set_of_backbones_of_an_experiment_is_valid(path):
    for name in tomllib.loads(path.read_text(encoding="utf-8")).get("backbones", {}):
        assert read_experiment(path, backbones=name).arms


def test_a_list_in_the_place_of_a_value_stands_for_every_combination(written):
    spec = read_experiment(written(**{'method = "lora"': 'method = ["lora", "dora"]\nrank = [1, 4]\nsites = "qv"'}))
    assert [arm.name for arm in spec.arms[1:]] == [
        f"chronos-t5-nano {method} r={rank} sites=qv" for method in ("lora", "dora") for rank in (1, 4)
    ]


def test_a_method_may_be_kept_from_some_backbones_of_a_set(written):
    sets = """
[backbones]
nano = ["chronos-t5-nano", "moirai-nano"]
[[methods]]
method = "zero-shot"
[[methods]]
method = "bitfit"
except = ["chronos-t5-nano"]
"""
    plain = PLAIN[: PLAIN.index("[[arms]]")]
    file = written()
    file.write_text(plain + sets)
    names = [arm.name for arm in read_experiment(file).arms]
    assert names == ["chronos-t5-nano zero-shot", "moirai-nano zero-shot", "moirai-nano bitfit"]
    file.write_text(plain + sets.replace('except = ["chronos-t5-nano"]', 'except = ["chronos-t5"]'))
    with pytest.raises(ConfigError, match="must list backbones of its sets: chronos-t5-nano, moirai-nano"):
        read_experiment(file)


def test_a_shorter_context_is_compared_with_its_own_zero_shot(written):
    with pytest.raises(ConfigError, match='method = "zero-shot", context = 12'):
        read_experiment(written(**{'method = "lora"': 'method = "lora"\ncontext = 12'}))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("horizon = 6", "horizont = 6", "windows.horizont: Extra inputs are not permitted"),
        ("horizon = 6", "horizon = 0", "windows.horizon: Input should be greater than or equal to 1"),
        ("context = 24", 'context = "x"', "windows.context: Input should be a valid integer"),
        ("context = 24", "min_context_observed = 1.5", "windows.min_context_observed"),
        ('source = "table"', 'source = "tabel"', "tabel"),
        ('path = "vitals.parquet"', "", "path: Field required"),
        ("seeds = [0, 1]", "seeds = []", "seeds: Tuple should have at least 1 item"),
        ("seeds = [0, 1]", "seeds = [1, 1]", "repeat"),
        ('name = "plain"', 'name = "../plain"', "name: String should match pattern"),
        ('method = "zero-shot"', 'method = "full"', "no zero-shot arm for chronos-t5-nano"),
        ('method = "lora"', 'method = "zero-shot"', "these arms stand twice: chronos-t5-nano zero-shot"),
        ('method = "lora"', 'method = "lora"\nrank = 0', "arms.1: rank: Input should be"),
        ("[windows]", "[split]\nshares = [0.5, 0.1, 0.1]\n[windows]", "must be positive and add up to 1"),
        (
            "[windows]",
            "[split]\nshares = [nan, 0.1, 0.1]\n[windows]",
            "split.shares.0: Input should be a finite number",
        ),
        ("[windows]", "[split]\nfolds = 5\nfold = 5\n[windows]", "5 folds are numbered 0 to 4"),
        ("[windows]", "[training]\nsteps = 0\n[windows]", "training.steps"),
        ("[windows]", "[forecast]\nsamples = 1\n[windows]", "forecast.samples"),
    ],
)
def test_a_mistake_is_named_by_its_place(written, old, new, says):
    with pytest.raises(ConfigError) as caught:
        read_experiment(written(**{old: new}))
    assert str(caught.value).startswith("plain.toml asks for what cannot be done:\n  ")
    assert says in str(caught.value)


def test_all_mistakes_are_said_at_once(written):
    with pytest.raises(ConfigError) as caught:
        read_experiment(written(**{"context = 24": "context = 1", "horizon = 6": "horizon = 0"}))
    assert str(caught.value).count("\n") == 2


def test_what_is_no_toml_or_no_file_is_refused(tmp_path, written):
    with pytest.raises(ConfigError, match=r"plain\.toml is not valid TOML"):
        read_experiment(written("name = "))
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(ConfigError, match=r"latin\.toml is not UTF-8"):
        read_experiment(tmp_path / "latin.toml")
    with pytest.raises(ConfigError, match="No experiment file"):
        read_experiment(tmp_path / "none.toml")


@pytest.mark.parametrize("text", ["arms = 3", "arms = [3]", "data = 3"])
def test_tables_that_are_no_tables_are_refused(written, text):
    with pytest.raises(ConfigError, match="asks for what cannot be done"):
        read_experiment(written(text))


SETS = (
    PLAIN[: PLAIN.index("[[arms]]")]
    + """
[backbones]
small = ["chronos-t5-nano", "chronos-t5-tiny"]
large = ["chronos-t5-large"]
[[methods]]
method = "zero-shot"
[[methods]]
method = "lora"
rank = 4
"""
)


def test_every_method_runs_on_every_backbone_of_the_chosen_set(written):
    spec = read_experiment(written(SETS))
    assert spec.name == "plain"
    assert [arm.name for arm in spec.arms] == [
        "chronos-t5-nano zero-shot",
        "chronos-t5-nano lora r=4",
        "chronos-t5-tiny zero-shot",
        "chronos-t5-tiny lora r=4",
    ]
    large = read_experiment(written(SETS), backbones="large")
    assert [arm.model for arm in large.arms] == ["chronos-t5-large"] * 2
    assert large.name == "plain-large", "another set is another experiment, in another folder"


@pytest.mark.parametrize(
    ("text", "chosen", "says"),
    [
        (SETS, "huge", "has no set of backbones 'huge'. Sets: small, large"),
        (PLAIN, "large", "names its arms one by one"),
        (PLAIN + '[[methods]]\nmethod = "full"\n', None, "give either"),
        (SETS.replace("[backbones]", "[backbones.deeper]"), None, "give either"),
        (SETS.replace("[[methods]]", "[[method]]"), None, "give either"),
    ],
)
def test_sets_that_cannot_be_chosen_from_are_refused(written, text, chosen, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        read_experiment(written(text), backbones=chosen)


def test_paths_are_relative_to_the_file_and_can_be_replaced(written, tmp_path, tiny):
    assert read_experiment(written()).data.path == tmp_path / "vitals.parquet"
    assert read_experiment(written(), data=tmp_path / "other.parquet").data.path == tmp_path / "other.parquet"
    (tmp_path / "models").symlink_to(tiny.parent)
    spec = read_experiment(written(**{'"chronos-t5-nano"': '"models/tiny-t5"'}))
    assert Path(spec.arms[0].model).is_absolute()
    assert spec.arms[0].name == "tiny-t5 zero-shot"


def test_the_digest_is_that_of_the_content_not_of_its_order_or_place(written):
    spec = read_experiment(written())
    content = tomllib.loads(PLAIN)
    turned = {key: content[key] for key in reversed(content)}
    turned["windows"] = dict(reversed(content["windows"].items()))
    turned["data"] = {"path": "/somewhere/else.parquet", "source": "table"}
    turned["arms"] = [{**arm, "model": f"amazon/{arm['model']}"} for arm in content["arms"]]
    assert parse(ExperimentSpec, turned, "it").digest == spec.digest


@pytest.mark.parametrize(
    "change", [{"seeds": [0]}, {"windows": {"context": 25, "horizon": 6}}, {"training": {"steps": 7}}, {"name": "q"}]
)
def test_whatever_changes_numbers_changes_the_digest(written, change: dict[str, Any]):
    spec = read_experiment(written())
    assert parse(ExperimentSpec, {**tomllib.loads(PLAIN), **change}, "it").digest != spec.digest


def test_a_list_of_nothing_is_no_way_to_leave_an_arm_out(written):
    with pytest.raises(ConfigError, match=r"rank = \[\] stands for no arm at all"):
        read_experiment(written(**{'method = "lora"': 'method = "lora"\nrank = []'}))


def test_the_naive_floor_stands_before_the_baselines_and_those_before_the_arms(written):
    spec = read_experiment(written("baselines = ['ets', 'nhits']\n" + PLAIN))
    names = [arm.name for arm in spec.competitors]
    assert names[:5] == ["last-value", "seasonal-naive", "context-mean", "ets", "nhits"]
    assert names[5:] == ["chronos-t5-nano zero-shot", "chronos-t5-nano lora r=2"]
    assert {spec.seeds_of(arm) for arm in spec.competitors[:4]} == {(0,)}
    assert spec.seeds_of(spec.competitors[4]) == (0, 1), "a network is trained with every seed"


def test_a_baseline_may_be_spelt_out_as_an_arm_with_settings_of_its_own(written):
    own = '[[arms]]\nmodel = ["nhits", "last-value"]\n[[arms]]\nmodel = "nbeats"\ntraining = { steps = 7 }\n'
    spec = read_experiment(written(PLAIN + own))
    names = [arm.name for arm in spec.competitors]
    assert names == [
        *("seasonal-naive", "context-mean", "chronos-t5-nano zero-shot", "chronos-t5-nano lora r=2"),
        *("nhits", "last-value", "nbeats"),
    ]
    assert spec.arms[-1].training_of(spec.training, 1).steps == 7
    assert spec.arms[-3].training_of(spec.training, 1).steps == 1000


def test_a_baseline_that_is_none_is_refused_with_those_there_are(written):
    with pytest.raises(
        ConfigError, match=r"baselines arima, chronos-t5-nano are none. Baselines: .*ets, theta, nbeats"
    ):
        read_experiment(written("baselines = ['arima', 'chronos-t5-nano']\n" + PLAIN))


def test_an_experiment_goes_through_json_unchanged(written):
    spec = read_experiment(written("baselines = ['tft']\n" + PLAIN))
    assert ExperimentSpec.model_validate_json(spec.model_dump_json()) == spec

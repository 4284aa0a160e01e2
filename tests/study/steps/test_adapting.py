"""Adapt a backbone to a caller's own table."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loracast.data.table import Table
from loracast.errors import BackboneError, ConfigError
from loracast.spec import SplitSpec, TrainSpec, WindowSpec
from loracast.study.steps.adapting import adapt_table
from loracast.study.steps.evaluating import evaluate_table
from loracast.study.steps.forecasting import forecast_table
from loracast.tuning.arm import ArmSpec
from loracast.tuning.card import SeenWindow, TrainedCard, read_card
from tests.conftest import PATIENT, STAY
from tests.models.tiny_ports import save_moirai
from tests.study.steps.conftest import LOOP, WINDOW, adapt


def test_adapting_saves_one_folder_and_clears_up_behind_it(adapter):
    assert [path.name for path in adapter.parent.iterdir()] == ["adapter"]
    card = read_card(adapter, TrainedCard)
    cut = WindowSpec(context=24, horizon=6, stride=6, season=24)
    assert card.window == SeenWindow(context=24, horizon=6, step_seconds=3600, joint=False, cut=cut)
    assert card.signals == {"heart_rate": "1/min", "map": "mmHg"}
    assert card.trainable_parameters == 24 * 2 * 32
    assert card.validation_loss <= card.validation_loss_at_start


def test_no_file_of_an_adapter_names_a_patient(adapter):
    for file in adapter.iterdir():
        content = file.read_bytes()
        assert PATIENT.encode() not in content, file.name
        assert STAY.encode() not in content, file.name


def test_the_same_call_gives_the_same_adapter(vitals, tiny, tmp_path, adapter):
    adapt(vitals.path, tmp_path / "again", tiny)
    for file in adapter.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


@pytest.mark.parametrize("resume", [False, True])
def test_a_finished_adapter_is_never_written_over(vitals, tiny, tmp_path, resume):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "mine.txt").write_text("kept")
    with pytest.raises(ConfigError, match="adapter exists already"):
        adapt(vitals, tmp_path / "adapter", tiny, resume=resume)
    assert (tmp_path / "adapter" / "mine.txt").read_text() == "kept"


def test_zero_shot_cannot_be_adapted(vitals, tmp_path):
    with pytest.raises(ConfigError, match=r"adapts nothing.*\bfull\b.*\blora\b"):
        adapt_table(vitals, tmp_path / "a", arm={"model": "chronos-t5-nano", "method": "zero-shot"})


def test_a_misspelt_setting_is_named(vitals, tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"The training asks for .*\n  stepz: Extra inputs"):
        adapt(vitals, tmp_path / "a", tiny, training={"stepz": 3})
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_tracker_is_refused_before_any_work(vitals, tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"No tracker 'comet'\. Trackers: mlflow, tensorboard, wandb"):
        adapt(vitals, tmp_path / "a", tiny, track=["comet"])
    assert list(tmp_path.iterdir()) == []


def test_an_adaptation_can_be_watched_beside_its_adapter(vitals, tiny, tmp_path):
    adapt(vitals, tmp_path / "a", tiny, track=["tensorboard"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "tensorboard"]
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()] == ["a-tiny-t5-lora-r-2-seed-0"]


def test_a_context_longer_than_the_backbone_takes_is_refused(vitals, tiny, tmp_path):
    with pytest.raises(BackboneError, match="longer than tiny-t5 takes"):
        adapt(vitals, tmp_path / "a", tiny, window={"context": 50, "horizon": 2})


def _interrupted(vitals: Table, out: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adaptation that is stopped once it is trained, before the adapter is saved."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("loracast.tuning.adapter.save_adapter", stop)
        with pytest.raises(KeyboardInterrupt):
            adapt(vitals, out, tiny)


def test_an_interrupted_adaptation_resumes_to_the_same_adapter(vitals, tiny, tmp_path, monkeypatch, adapter):
    _interrupted(vitals, tmp_path / "adapter", tiny, monkeypatch)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter.work"]
    adapt(vitals, tmp_path / "adapter", tiny, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    for file in adapter.iterdir():
        assert file.read_bytes() == (tmp_path / "adapter" / file.name).read_bytes(), file.name


def test_a_resume_with_other_settings_is_refused(vitals, tiny, tmp_path, monkeypatch):
    _interrupted(vitals, tmp_path / "adapter", tiny, monkeypatch)
    for other in ({"seed": 1}, {"training": TrainSpec(steps=5).model_dump()}, {"window": {**WINDOW, "horizon": 5}}):
        with pytest.raises(ConfigError, match="begun with another table or other settings"):
            adapt(vitals, tmp_path / "adapter", tiny, resume=True, **other)
    assert any((tmp_path / "adapter.work" / "checkpoints").iterdir())


def test_signals_of_a_patient_are_adapted_to_and_forecast_jointly(vitals, tmp_path):
    moirai = str(save_moirai(tmp_path / "moirai"))
    arm, training = {"model": moirai, "method": "lora"}, {"steps": 2, "batch_size": 8, "evaluate_every": 1}
    window = {"context": 24, "horizon": 6, "stride": 6, "joint": True}
    card = adapt_table(vitals.path, tmp_path / "a", arm=arm, window=window, training=training, progress=False)
    assert card.window.joint is True
    asked = {"adapter": tmp_path / "a", "backbone": moirai, "progress": False}
    forecast_table(vitals.path, tmp_path / "joint.parquet", **asked)
    frame = pq.read_table(vitals.path).to_pandas()
    lone = frame[frame["signal"] == "map"]
    meta = pq.read_schema(vitals.path)
    pq.write_table(pa.Table.from_pandas(lone, schema=meta, preserve_index=False), tmp_path / "lone.parquet")
    forecast_table(tmp_path / "lone.parquet", tmp_path / "alone.parquet", **asked)
    joint, alone = (pq.read_table(tmp_path / f"{name}.parquet").to_pandas() for name in ("joint", "alone"))
    same = joint[joint["signal"] == "map"].merge(alone, on=["series", "time"])
    assert len(same) == len(alone)
    assert not np.allclose(same["q0.5_x"], same["q0.5_y"]), "the other signal has been read"
    summary = evaluate_table(vitals.path, adapters=[tmp_path / "a"], backbone=moirai, progress=False)
    assert summary.windows.joint is True


def test_settings_may_be_objects_in_the_place_of_dicts_and_the_split_is_as_asked(vitals, tiny, tmp_path):
    split = SplitSpec(seed=3, folds=5, fold=1)
    arm = ArmSpec.model_validate({"model": str(tiny), "method": "lora"})
    window, loop = WindowSpec.model_validate(WINDOW), TrainSpec.model_validate(LOOP)
    card = adapt_table(vitals, tmp_path / "a", arm=arm, window=window, training=loop, split=split, progress=False)
    assert card.split == split
    assert card.seed == 0
    again = adapt(vitals, tmp_path / "b", tiny, split={"seed": 3, "folds": 5, "fold": 1})
    assert again == card


@pytest.mark.parametrize("given", [TrainSpec(), 3])
def test_settings_of_another_kind_are_refused(vitals, tiny, tmp_path, given):
    with pytest.raises(ConfigError, match=r"The window is a (TrainSpec|int)\. Give a WindowSpec, or its keys"):
        adapt(vitals, tmp_path / "a", tiny, window=given)


def test_a_folder_that_exists_is_refused_before_anything_is_loaded(vitals, tmp_path):  # those weights are not here
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").write_text("kept")
    with pytest.raises(ConfigError, match="exists already"):
        adapt(vitals, tmp_path / "a", "chronos-t5-large")

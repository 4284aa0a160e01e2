"""A model is adapted to a table, shows how it learnt, is saved, and forecasts the same once it is loaded again."""

import gc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import loracast as lc
from tests.conftest import PATIENT, STAY
from tests.doorway.conftest import LOOP, SPLIT


def test_what_is_saved_and_loaded_forecasts_the_same_to_the_last_bit(tuned, frame, tmp_path):
    again = lc.load(tuned.save(tmp_path / "adapter"))
    assert isinstance(again, lc.Adapted)
    pd.testing.assert_frame_equal(again.forecast(frame), tuned.forecast(frame), check_exact=True)
    steps = np.random.default_rng(0).normal(80, 3, (2, 40))
    np.testing.assert_array_equal(again.forecast(steps), tuned.forecast(steps))


def test_nothing_that_stands_is_written_over_unasked(tuned, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "mine.txt").write_text("kept")
    with pytest.raises(lc.ConfigError, match="exists already"):
        tuned.save(tmp_path / "adapter")
    assert (tmp_path / "adapter" / "mine.txt").read_text() == "kept"
    tuned.save(tmp_path / "adapter", overwrite=True)
    assert not (tmp_path / "adapter" / "mine.txt").exists()


def test_without_a_folder_nothing_stays_behind_and_no_file_names_a_patient(table, tiny):
    tuned = lc.adapt(table, tiny, lc.LoRA(rank=1), horizon=6, context=24, training=LOOP, progress=False)
    place = tuned.folder
    assert place.is_dir()
    for file in place.iterdir():
        assert PATIENT.encode() not in file.read_bytes(), file.name
        assert STAY.encode() not in file.read_bytes(), file.name
    assert tuned.forecast(table).shape[1] == 13, "the base, a folder, is found"
    del tuned
    gc.collect()
    assert not place.exists()
    assert not place.parent.exists()


def test_a_folder_that_was_named_holds_the_adapter(table, tiny, tmp_path):
    tuned = lc.adapt(table, tiny, "lora", horizon=6, context=24, training=LOOP, out=tmp_path / "a", progress=False)
    assert tuned.folder == tmp_path / "a"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_its_card_says_what_was_asked_for_and_its_history_how_it_learnt(tuned):
    card = tuned.card
    assert (card.window.context, card.window.horizon, card.split.shares) == (24, 6, SPLIT["shares"])
    history = tuned.history
    assert history.index.name == "step"
    assert history["validation"].dropna().index.tolist() == [0, 2, 4]
    assert history.loc[0, "validation"] == card.validation_loss_at_start
    assert history["validation"].min() == card.validation_loss
    assert history["training"].notna().any()
    (axes,) = tuned.plot().axes
    assert axes.get_xlabel() == "training step"


def test_a_new_frame_is_read_as_that_of_the_training_was(tuned, frame):
    assert tuned.card.reading["patient"] == "subject_id"
    some = frame[frame["subject_id"] == frame["subject_id"].iloc[0]]
    assert tuned.forecast(some)["patient"].unique().tolist() == [frame["subject_id"].iloc[0]]
    renamed = some.rename(columns={"valuenum": "reading"})
    pd.testing.assert_frame_equal(tuned.forecast(renamed, value="reading"), tuned.forecast(some))


def test_settings_are_refused_before_anything_is_trained(table, frame):
    refused = [
        ({"table": frame}, r"A DataFrame given, .* lc\.Table\.from_frame"),
        ({"method": "loar"}, r"No method 'loar'.*\blora\b"),
        ({"method": "zero-shot"}, "adapts nothing"),
        ({"horizon": 6, "window": {"horizon": 5}}, "horizon=6 given, and 5 in the window"),
        ({"training": {"stepz": 3}}, "stepz: Extra inputs"),
        ({"split": {"folds": 2}}, "folds: "),
    ]
    for settings, why in refused:
        with pytest.raises(lc.ConfigError, match=why):
            lc.adapt(**{"table": table, **settings})


def test_it_shows_itself_shortly(tuned):
    assert repr(tuned) == "Adapted(chronos-t5-nano lora r=2)"
    assert "heart_rate (1/min), map (mmHg)" in tuned._repr_html_()
    assert len(tuned._repr_html_()) < 2000


def test_a_method_with_impossible_settings_is_refused_where_it_is_made():
    with pytest.raises(lc.ConfigError, match=r"LoRA asks for .*\n  rank: .*\(0 given\)"):
        lc.LoRA(rank=0)
    with pytest.raises(lc.ConfigError, match=r"TrainSpec asks for .*\n  stepz: .* Keys: steps"):
        lc.TrainSpec(stepz=1)  # type: ignore[call-arg]


def test_an_adapter_that_is_damaged_is_told_when_it_is_loaded(tuned, tmp_path):
    folder: Path = tuned.save(tmp_path / "adapter")
    (folder / "adapter_model.safetensors").write_bytes(b"broken")
    with pytest.raises(lc.AdapterError, match="was changed"):
        lc.load(folder)

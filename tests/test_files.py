"""Files appear whole or not at all."""

import errno
import hashlib
import json

import pytest

from loracast.files import digest, file_digest, read_json, write_json, written

FULL = OSError(errno.ENOSPC, "No space left on device")


def failing(path, *, folder: bool, error: BaseException = FULL) -> None:
    with written(path) as temporary:
        if folder:
            temporary.mkdir()
            (temporary / "part").write_text("half")
        else:
            temporary.write_text("half")
        raise error


@pytest.mark.parametrize("folder", [False, True])
def test_a_full_disk_leaves_nothing_behind(tmp_path, folder):
    with pytest.raises(OSError, match="No space left"):
        failing(tmp_path / "result", folder=folder)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_file_that_stood_there(tmp_path):
    (tmp_path / "result").write_text("old")
    with pytest.raises(OSError, match="No space left"):
        failing(tmp_path / "result", folder=False)
    assert (tmp_path / "result").read_text() == "old"


def test_a_full_disk_leaves_the_folder_that_stood_there(tmp_path):
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "old").write_text("old")
    with pytest.raises(OSError, match="No space left"):
        failing(tmp_path / "result", folder=True)
    assert [path.name for path in (tmp_path / "result").iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_an_interrupt_leaves_nothing_behind_either(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        failing(tmp_path / "result", folder=False, error=KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_the_final_name_is_free_until_the_end(tmp_path):
    with written(tmp_path / "new" / "result") as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / "new" / "result").exists()
        assert temporary.parent == tmp_path / "new"
    assert (tmp_path / "new" / "result").read_text() == "whole"


def test_a_new_folder_replaces_the_old_one_whole(tmp_path):
    for name in ("old", "new"):
        with written(tmp_path / "result") as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [path.name for path in (tmp_path / "result").iterdir()] == ["new"]


def test_what_an_earlier_attempt_left_is_cleared_away(tmp_path):
    with written(tmp_path / "result") as temporary:
        name = temporary.name
        temporary.write_text("whole")
    (tmp_path / name).mkdir()
    with written(tmp_path / "result") as temporary:
        assert not temporary.exists()
        temporary.write_text("again")
    assert (tmp_path / "result").read_text() == "again"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_holds_no_nan_and_no_infinity(tmp_path, number):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"mae": number})
    assert list(tmp_path.iterdir()) == []


def test_json_comes_back_as_it_went(tmp_path):
    content = {"unit": "°C", "values": [1.5, None, "x"], "none": {}}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert (tmp_path / "a.json").read_text().endswith("}\n")


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest(json.loads('{"b": [1, 2], "a": 1}'))
    assert digest({"b": [2, 1]}) != digest({"b": [1, 2]})
    assert len(digest([])) == 16


def test_a_files_digest_is_its_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 1000)
    assert file_digest(tmp_path / "a") == hashlib.sha256(b"abc" * 1000).hexdigest()

import gc
import os

from loracast.files.private import PrivateFolder


def test_a_private_folder_is_for_its_user_alone_and_goes_away_with_the_object(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    private = PrivateFolder("rows")
    path = private.path
    assert path.parent == tmp_path
    assert path.stat().st_mode & 0o777 == 0o700
    (path / "rows.parquet").write_text("rows")
    del private
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_another_one_sweeps_what_is_held_by_nobody_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first = PrivateFolder("rows")
    (tmp_path / ".rows.old.loracast.partial").mkdir()
    second = PrivateFolder("rows")
    assert {one.path for one in (first, second)} == set(tmp_path.iterdir())
    first.close()
    assert list(tmp_path.iterdir()) == [second.path]


def test_a_forked_copy_removes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    private = PrivateFolder("rows")
    child = os.getpid() + 1
    monkeypatch.setattr("os.getpid", lambda: child)
    private.close()
    assert private.path.is_dir()

"""Files appear whole or not at all, and never in the place of what stands there unasked."""

import errno
import hashlib
import json
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from loracast.errors import ConfigError
from loracast.files import alone, claimed, digest, file_digest, read_json, sweep, temporary_beside, write_json, written

FULL = OSError(errno.ENOSPC, "No space left on device")


def failing(path, *, folder: bool, error: BaseException = FULL) -> None:
    with written(path, overwrite=True) as temporary:
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
        assert tmp_path / "new" in temporary.parents
    assert (tmp_path / "new" / "result").read_text() == "whole"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["result"]


def put(path, text: str, **how: bool) -> None:
    with written(path, **how) as temporary:
        temporary.mkdir()
        (temporary / text).write_text(text)


def test_a_new_folder_replaces_the_old_one_whole_where_it_may(tmp_path):
    put(tmp_path / "result", "old")
    put(tmp_path / "result", "new", overwrite=True)
    assert [path.name for path in (tmp_path / "result").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


@pytest.mark.parametrize("what", ["file", "folder", "dangling link"])
def test_what_stands_is_not_replaced_unasked(tmp_path, what):
    path = tmp_path / "result"
    if what == "file":
        path.write_text("old")
    elif what == "folder":
        put(path, "old")
    else:
        path.symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=r"result exists already.*--overwrite"):
        put(path, "new")
    with pytest.raises(ConfigError, match="result exists already"):
        write_json(path, {})
    assert sorted(tmp_path.rglob("*")) == before


def test_what_has_come_meanwhile_is_not_replaced_either(tmp_path):
    def come_meanwhile():
        with written(tmp_path / "result") as temporary:
            temporary.write_text("new")
            (tmp_path / "result").write_text("another's")

    with pytest.raises(ConfigError, match="result exists already"):
        come_meanwhile()
    assert (tmp_path / "result").read_text() == "another's"


@pytest.mark.parametrize("name", ["old", "new", "lock"])
def test_a_result_may_be_called_what_it_likes(tmp_path, name):
    put(tmp_path / name, "first")
    put(tmp_path / name, "second", overwrite=True)
    assert [path.name for path in (tmp_path / name).iterdir()] == ["second"]


def test_an_empty_folder_is_free(tmp_path):
    (tmp_path / "result").mkdir()
    put(tmp_path / "result", "new")
    assert [path.name for path in (tmp_path / "result").iterdir()] == ["new"]


def test_the_folder_that_one_works_in_is_never_replaced(tmp_path, monkeypatch):
    put(tmp_path / "result", "old")
    monkeypatch.chdir(tmp_path / "result")
    for path in (tmp_path / "result", tmp_path, tmp_path / "result" / "."):
        with pytest.raises(ConfigError, match="holds the working directory"):
            put(path, "new", overwrite=True)
    assert [path.name for path in (tmp_path / "result").iterdir()] == ["old"]


def test_a_result_is_never_put_in_the_place_of_what_it_is_made_from(tmp_path):
    source = tmp_path / "source"
    put(source, "old")
    (tmp_path / "link").symlink_to(source)
    for out, how in ((source, "is"), (tmp_path / "link", "is"), (tmp_path, "holds"), (source / "new", "lies in")):
        with pytest.raises(ConfigError, match=f"{how} what is read"), claimed(out, source, overwrite=True):
            pytest.fail("claimed")
    with claimed(source / "new", source, overwrite=True, inside=True):
        pass  # a new file may lie in the folder that is read, as in the working directory
    with (
        pytest.raises(ConfigError, match="lies in what is read"),
        claimed(source / "old", source, overwrite=True, inside=True),
    ):
        pytest.fail("claimed")
    assert [path.name for path in source.iterdir()] == ["old"]


def test_a_place_is_claimed_once_at_a_time_and_leaves_no_lock(tmp_path):
    with (
        claimed(tmp_path / "result"),
        claimed(tmp_path / "other"),
        pytest.raises(ConfigError, match="Another process is at"),
        claimed(tmp_path / "result", overwrite=True),
    ):
        pytest.fail("claimed twice")
    with claimed(tmp_path / "result"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_beside_a_result_is_not_replaced_unasked_either(tmp_path):
    (tmp_path / "result.attrition.json").write_text("old")
    beside = (tmp_path / "result.attrition.json",)
    with (
        pytest.raises(ConfigError, match=r"attrition\.json exists"),
        claimed(tmp_path / "result.parquet", beside=beside),
    ):
        pytest.fail("claimed")
    with claimed(tmp_path / "result.parquet", beside=beside, overwrite=True):
        pass


@contextmanager
def process(code: str, *arguments: object):
    """Another process that has carried out `code` and waits; killed at the end."""
    words = [sys.executable, "-c", f"import sys\n{code}\n", *map(str, arguments)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "here\n"
            yield child
        finally:
            child.kill()


HALF = """
from pathlib import Path
from loracast.files import claimed, written
with claimed(Path(sys.argv[1])), written(Path(sys.argv[1])) as temporary:
    temporary.mkdir()
    (temporary / "rows").write_text("half")
    print("here", flush=True)
    sys.stdin.read()
"""


def test_what_a_living_process_holds_stays_and_what_a_killed_one_left_is_swept(tmp_path):
    with process(HALF, tmp_path / "result") as child:
        before = sorted(tmp_path.rglob("*"))
        sweep(tmp_path)
        with temporary_beside(tmp_path / "other"):
            pass
        assert sorted(tmp_path.rglob("*")) == before
        with pytest.raises(ConfigError, match="Another process is at"), alone(tmp_path / "result"):
            pytest.fail("claimed")
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert sorted(tmp_path.rglob("*")) == before
    with temporary_beside(tmp_path / "other"):
        assert not list(tmp_path.rglob("rows"))
    assert list(tmp_path.iterdir()) == []


def test_what_only_looks_like_ours_is_not_swept(tmp_path):
    kept = [".result.12.partial", ".lock", "result.loracast.partial", "result.loracast.lock", ".git"]
    for name in kept:
        (tmp_path / name).write_text("theirs")
    put(tmp_path / "result", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "result"])


REPLACING = """
import os
from pathlib import Path
from loracast import files
rename, done = os.rename, []
def watched(source, target):
    rename(source, target)
    done.append(target)
    if len(done) == int(sys.argv[2]):
        print("here", flush=True)
        sys.stdin.read()
files.os.rename = watched
with files.written(Path(sys.argv[1]), overwrite=True) as temporary:
    temporary.mkdir()
    (temporary / "new").write_text("new")
"""


@pytest.mark.parametrize(("rename", "stands"), [(1, "old"), (2, "new")], ids=["the old aside", "the new in"])
def test_a_kill_between_the_old_and_the_new_loses_neither(tmp_path, rename, stands):
    put(tmp_path / "result", "old")
    with process(REPLACING, tmp_path / "result", rename) as child:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file() and path.name == stands] == [stands]
    with claimed(tmp_path / "result", overwrite=True):
        assert [path.name for path in (tmp_path / "result").iterdir()] == [stands]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


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

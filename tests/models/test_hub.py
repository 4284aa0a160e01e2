"""Files from the Hub, against a small server on loopback that speaks its protocol, honestly and not."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from huggingface_hub import constants, file_download

from loracast.errors import BackboneError
from loracast.models import hub
from loracast.models.hub import fetch, read_config, read_shapes, read_tensors, refuse_other_weights
from loracast.models.registry import Release, families, load_backbone

NAME = "ward/chronos-tiny"
FILES = ("config.json", "model.safetensors")
FIRST, SECOND = "1" * 40, "2" * 40
TOKEN = "let-me-in"


@dataclass
class Hub:
    """What the server holds and how it misbehaves."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    etag: str | None = None  # stated of every large file, instead of its own
    cut: float = 1.0  # share of a large file that is sent before the connection closes
    short: bool = False  # a shorter file than was stated, sent whole
    silent: set[str] = field(default_factory=set)  # methods that are not answered until `over`
    over: Event = field(default_factory=Event)
    status: int = 200
    private: bool = False

    def add(self, commit: str, folder: Path) -> None:
        self.commits[commit] = {name: (folder / name).read_bytes() for name in FILES}
        self.branches["main"] = commit

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.asked]


class Server(ThreadingHTTPServer):
    """A server that says nothing of clients that have gone away."""

    def handle_error(self, *_: object) -> None:
        pass


class Answer(BaseHTTPRequestHandler):
    """One request: /{owner}/{name}/resolve/{revision}/{file}."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer("HEAD")

    def do_GET(self) -> None:
        self.answer("GET")

    def refuse(self, status: int, code: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()

    def answer(self, method: str) -> None:
        state = self.hub
        state.asked.append((method, self.path))
        if method in state.silent:
            state.over.wait()
        name, _, rest = self.path.strip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        commit = state.branches.get(revision, revision)
        if state.status != 200:
            return self.refuse(state.status)
        if name != NAME:
            return self.refuse(404, "RepoNotFound")
        if state.private and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(401)
        if commit not in state.commits:
            return self.refuse(404, "RevisionNotFound")
        if file not in state.commits[commit]:
            return self.refuse(404, "EntryNotFound")
        return self.send(method, commit, state.commits[commit][file])

    def send(self, method: str, commit: str, content: bytes) -> None:
        state, large = self.hub, len(content) > 5000
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        if large:
            self.send_header("ETag", '"of-the-pointer"')
            self.send_header("X-Linked-Etag", f'"{state.etag or hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Linked-Size", str(len(content)))
        else:
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            self.send_header("ETag", f'"{git}"')
        if large and state.short and method == "GET":
            content = content[:-100]
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if method == "GET":
            self.wfile.write(content[: int(len(content) * (state.cut if large else 1))])
            self.close_connection = large and state.cut < 1


@pytest.fixture
def server(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with one model, and a cache of this test's own."""
    state = Hub()
    state.add(FIRST, tiny)
    http = Server(("127.0.0.1", 0), type("Answering", (Answer,), {"hub": state}))
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    where = f"http://127.0.0.1:{http.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", where)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", where + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    # Between two tries the library waits a second.
    monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda _: None, time=time.time))
    monkeypatch.setitem(families()["chronos-t5"].releases, "hub-tiny", Release(NAME, "Apache-2.0", {}))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    yield state
    state.over.set()
    http.shutdown()
    thread.join()
    http.server_close()


def blobs(tmp_path: Path) -> list[Path]:
    return [file for file in (tmp_path / "hub").rglob("blobs/*") if file.is_file()]


def test_a_name_on_the_hub_gives_the_weights_and_the_commit_they_are_of(server, tiny):
    backbone = load_backbone(NAME)
    assert (backbone.card.name, backbone.card.revision) == ("hub-tiny", FIRST)
    assert {path.rpartition("/")[2] for _, path in server.asked if "/resolve/" in path} == set(FILES)
    own = load_backbone(str(tiny)).net.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in backbone.net.state_dict().items())


def test_all_files_are_of_one_commit_even_if_another_is_pushed_meanwhile(server):
    server.commits[SECOND] = dict(server.commits[FIRST])
    before = hub._file_of

    def push(repository: str, file: str, revision: str) -> Path:
        path = before(repository, file, revision)
        server.branches["main"] = SECOND
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "_file_of", push)
        assert fetch(NAME, FILES, None).commit == FIRST


@pytest.mark.parametrize("revision", [FIRST, "v1"])
def test_a_revision_pins_a_commit_or_a_tag(server, revision):
    server.commits[SECOND] = {**server.commits[FIRST], "config.json": b"{}"}
    server.branches = {"main": SECOND, "v1": FIRST}
    fetched = fetch(NAME, FILES, revision)
    assert fetched.commit == FIRST
    assert read_config(fetched.folder)["d_model"] == 16
    assert fetch(NAME, FILES, None).commit == SECOND


def test_a_pinned_commit_that_is_cached_asks_nobody(server):
    fetch(NAME, FILES, FIRST)
    server.asked.clear()
    assert fetch(NAME, FILES, FIRST).commit == FIRST
    assert server.asked == []


def test_a_second_load_downloads_nothing(server):
    fetch(NAME, FILES, None)
    server.asked.clear()
    fetch(NAME, FILES, None)
    assert set(server.methods) == {"HEAD"}


def test_offline_only_the_cache_is_read(server, monkeypatch):
    fetch(NAME, FILES, None)
    server.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(NAME, FILES, None).commit == FIRST
    with pytest.raises(BackboneError, match=r"v9 is neither in the local cache.*HF_HUB_OFFLINE forbids.*hf download"):
        fetch(NAME, FILES, "v9")
    assert server.asked == []


def test_a_hub_that_is_gone_leaves_the_cache(server, monkeypatch):
    fetch(NAME, FILES, None)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    assert fetch(NAME, FILES, None).commit == FIRST
    with pytest.raises(BackboneError, match=r"neither in the local cache nor to be had from the Hub: http://127"):
        fetch("ward/other", FILES, None)


ELSEWHERE = """
from loracast.models.hub import fetch
print(fetch("ward/chronos-tiny", ["config.json", "model.safetensors"], None).folder)
"""


def test_the_environment_names_the_endpoint_and_the_cache(server, tmp_path):
    env = {**os.environ, "HF_ENDPOINT": constants.ENDPOINT, "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE"):
        env.pop(name, None)
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], env=env, capture_output=True, text=True, check=True)
    found = tmp_path / "home" / "hub" / "models--ward--chronos-tiny" / "snapshots" / FIRST
    assert done.stdout.strip() == str(found)
    assert ("GET", f"/{NAME}/resolve/main/config.json") in server.asked


def test_a_private_model_needs_a_token_and_says_so(server, monkeypatch):
    server.private = True
    with pytest.raises(BackboneError, match=r"http.* asks for a token .401..*HF_TOKEN"):
        fetch(NAME, FILES, None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch(NAME, FILES, None).commit == FIRST


def test_a_wrong_hash_is_refused_and_not_kept(server, tmp_path):
    server.etag = "ab" * 32
    with pytest.raises(BackboneError, match=r"model\.safetensors of .* not the hash that the Hub states \(abababab"):
        fetch(NAME, FILES, None)
    assert len(blobs(tmp_path)) == 1
    server.etag = None
    assert fetch(NAME, FILES, None).commit == FIRST


def test_a_file_changed_in_the_cache_is_found_out_also_offline(server, tmp_path, monkeypatch):
    fetch(NAME, FILES, None)
    config = min(blobs(tmp_path), key=lambda file: file.stat().st_size)
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_heads": 4}))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BackboneError, match=r"config\.json of .* has not the hash"):
        fetch(NAME, FILES, None)


def test_a_missing_file_is_named(server):
    del server.commits[FIRST]["model.safetensors"]
    with pytest.raises(BackboneError, match=r"chronos-tiny at revision 1+ has no model\.safetensors on http"):
        fetch(NAME, FILES, None)


def test_a_missing_model_and_a_missing_revision_are_told_apart(server):
    with pytest.raises(BackboneError, match=r"ward/nothing is not on http.*Check the name"):
        fetch("ward/nothing", FILES, None)
    with pytest.raises(BackboneError, match=r"has no revision v9\. http.*lists its branches"):
        fetch(NAME, FILES, "v9")


@pytest.mark.parametrize("fault", [{"short": True}, {"cut": 0.5}])
def test_a_truncated_file_is_refused_and_not_kept(server, tmp_path, fault):
    for name, value in fault.items():
        setattr(server, name, value)
    with pytest.raises(BackboneError, match=r"model\.safetensors of .* did not arrive whole .* Nothing of it was kept"):
        fetch(NAME, FILES, None)
    assert len(blobs(tmp_path)) == 1


def test_a_download_that_begins_anew_without_end_is_ended(server, monkeypatch):
    # Each piece counts as progress to the library, which then tries again with all its patience.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    server.cut = 0.5
    with pytest.raises(BackboneError, match="it was broken off 3 times before its end"):
        fetch(NAME, FILES, None)
    assert server.methods.count("GET") == 1 + 4


def test_a_slow_answer_ends_and_says_which_patience_to_raise(server, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.1)
    server.silent = {"HEAD"}
    with pytest.raises(BackboneError, match=r"did not answer in time.*HF_HUB_ETAG_TIMEOUT \(0\.1 s"):
        fetch(NAME, FILES, None)
    assert len(server.asked) == 1


def test_a_slow_download_ends_too(server, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    server.silent = {"GET"}
    with pytest.raises(BackboneError, match=r"did not answer in time.*HF_HUB_DOWNLOAD_TIMEOUT \(0\.1 s"):
        fetch(NAME, FILES, None)


def test_a_hub_in_trouble_says_its_status(server):
    server.status = 503
    with pytest.raises(BackboneError, match="503"):
        fetch(NAME, FILES, None)


def test_what_is_no_name_is_refused(server):
    with pytest.raises(BackboneError, match="Repo id must"):
        fetch("a/b/c", FILES, None)


def test_a_folder_must_hold_its_files(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert fetch(tmp_path, ["config.json"], None) == hub.Fetched(tmp_path, None)
    with pytest.raises(BackboneError, match=r"holds no model\.safetensors\. The folder of a model holds config\.json"):
        fetch(tmp_path, FILES, None)


def test_a_config_must_be_a_json_object(tmp_path):
    for content, fault in (("{", "is not JSON"), ("[]", "no settings but a list"), (b"\xff\xfe", "is not UTF-8")):
        (tmp_path / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(BackboneError, match=fault):
            read_config(tmp_path)


@pytest.mark.parametrize("read", [read_tensors, read_shapes])
def test_a_weight_file_that_is_cut_short_is_refused(tmp_path, read):
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file({"one": torch.ones(3, 2)}, file)
    assert list(read(file)) == ["one"]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BackboneError, match="cut short or damaged"):
        read(file)
    file.unlink()
    with pytest.raises(BackboneError, match="is not there"):
        read(file)


def test_other_weights_are_named_at_most_three_of_a_kind():
    wanted = {"a": (2,), "b": (2,), "c": (2,), "d": (2,), "e": (2, 3)}
    with pytest.raises(BackboneError) as found:
        refuse_other_weights("ward", wanted, {"e": (3, 2), "z": (1,)})
    said = str(found.value)
    assert "lacks a, b, c (4 in all)" in said
    assert "beyond its config, z (1 in all)" in said
    assert "another shape e [3, 2] for [2, 3] (1 in all)" in said
    refuse_other_weights("ward", wanted, dict(wanted))

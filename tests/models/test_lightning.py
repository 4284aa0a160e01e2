"""The checkpoint reader: what an honest file holds comes back, what a hostile one asks for is never done."""

import builtins
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from loracast.errors import BackboneError
from loracast.models.lightning import Inert, StoredTensor, read_checkpoint
from tests.models.lightning import DISTRIBUTION, LIKELIHOOD, write_checkpoint

ALLOWED = [f"{DISTRIBUTION}.StudentTOutput", f"{LIKELIHOOD}.NegativeLogLikelihood"]
TENSORS = {
    "whole": torch.arange(6.0).reshape(2, 3),
    "turned": torch.arange(6.0).reshape(2, 3).T,
    "part": torch.arange(10.0)[3:9:2],
    "number": torch.tensor(4, dtype=torch.int64),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "nothing": torch.zeros(0, 4),
}


@pytest.fixture
def honest(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "honest.ckpt", TENSORS, {"n_layer": 1, "lags_seq": [0, 7]})


def test_what_an_honest_checkpoint_holds_comes_back(honest):
    found = read_checkpoint(honest, ALLOWED)
    assert found["epoch"] == 3
    assert found["global_step"] == 2**40
    assert found["optimizer_states"][0]["param_groups"] == [{"betas": (0.9, 0.999)}]
    assert found["hyper_parameters"]["model_kwargs"]["lags_seq"] == [0, 7]
    assert found["hyper_parameters"]["loss"] == Inert(ALLOWED[1], {"beta": 0.0, "fields_set": set()})
    assert found["hyper_parameters"]["model_kwargs"]["distr_output"] == Inert(ALLOWED[0], {"__init_args__": {}})


def test_its_tensors_have_their_shapes_types_and_values(honest):
    stored = read_checkpoint(honest, ALLOWED)["state_dict"]
    assert stored.keys() == {f"model.{name}" for name in TENSORS}
    for name, tensor in TENSORS.items():
        one = stored[f"model.{name}"]
        assert isinstance(one, StoredTensor)
        assert (one.shape, one.dtype) == (tuple(tensor.shape), tensor.dtype)
        assert torch.equal(one.read(), tensor)
        assert one.read().is_contiguous()


def test_the_classes_it_names_are_refused_where_they_are_not_allowed(honest):
    with pytest.raises(BackboneError, match=r"StudentTOutput.*Nothing in it was executed"):
        read_checkpoint(honest, ALLOWED[1:])


class Calls:
    """Becomes an instruction to call `what` when it is saved."""

    def __init__(self, what, *arguments):
        self.parts = what, arguments

    def __reduce__(self):
        return self.parts


def hostile(what: str, mark: Path) -> Calls:
    return {
        "a shell": lambda: Calls(os.system, f"touch {mark}"),
        "eval": lambda: Calls(eval, f"open({str(mark)!r}, 'w')"),
        "exec": lambda: Calls(exec, f"open({str(mark)!r}, 'w')"),
        "open": lambda: Calls(builtins.open, str(mark), "w"),
        "a copy": lambda: Calls(shutil.copyfile, "/etc/hostname", str(mark)),
        "torch's loader": lambda: Calls(torch.load, str(mark)),
        "an attribute": lambda: Calls(getattr, mark, "touch"),
        "a path": lambda: mark,
    }[what]()


HOSTILE = ["a shell", "eval", "exec", "open", "a copy", "torch's loader", "an attribute", "a path"]


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("place", ["hyper_parameters", "model_kwargs"])
def test_a_hostile_checkpoint_is_refused_and_does_nothing(tmp_path, what, place):
    mark = tmp_path / "was-here"
    trap = hostile(what, mark)
    given = ({"n_layer": 1, "distr_output": trap}, {}) if place == "model_kwargs" else ({"n_layer": 1}, {"x": trap})
    file = write_checkpoint(tmp_path / "hostile.ckpt", TENSORS, given[0], **given[1])
    with pytest.raises(BackboneError, match="Nothing in it was executed"):
        read_checkpoint(file, ALLOWED)
    assert not mark.exists()


def test_the_trap_of_these_tests_would_have_closed(tmp_path):
    mark = tmp_path / "was-here"
    pickle.loads(pickle.dumps(hostile("open", mark))).close()
    assert mark.exists()


def rewritten(honest: Path, program: bytes | None = None, **members: bytes | None) -> Path:
    """The honest archive with another program, or other members (None leaves one out)."""
    other = honest.with_name("rewritten.ckpt")
    changed = {name.replace("__", "/"): content for name, content in members.items()}
    if program is not None:
        changed["data.pkl"] = program
    with zipfile.ZipFile(honest) as old, zipfile.ZipFile(other, "w") as new:
        for member in old.infolist():
            short = member.filename.split("/", 1)[1]
            content = changed.get(short, old.read(member))
            if content is not None:
                new.writestr(member.filename, content)
    return other


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
TENSOR = REBUILD + b"(" + STORAGE
PROGRAMS = {
    "protocol 4 names": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "a name from the stack": b"\x80\x02X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93.",
    "an old instance": b"\x80\x02(X\x02\x00\x00\x00lsios\nsystem\n.",
    "an old object": b"\x80\x02(cos\nsystem\nX\x02\x00\x00\x00lso.",
    "an extension": b"\x80\x02\x82\x01.",
    "another outside reference": b"\x80\x02PX\n.",
    "no storage": b"\x80\x02X\x01\x00\x00\x00aQ.",
    "a called container": b"\x80\x02ccollections\nOrderedDict\nX\x01\x00\x00\x00a\x85R.",
    "a call of a string": b"\x80\x02X\x01\x00\x00\x00a)R.",
    "an object of a container": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "a state of a list": b"\x80\x02]}b.",
    "an item of a list": b"\x80\x02]K\x01K\x02s.",
    "a list for a key": b"\x80\x02}]K\x02s.",
    "a tuple for a key": b"\x80\x02})K\x02s.",
    "too little on the stack": b"\x80\x02\x86.",
    "nothing on the stack": b"\x80\x02.",
    "no mark": b"\x80\x02K\x01t.",
    "an unknown memory": b"\x80\x02h\x07.",
    "no end": b"\x80\x02}",
    "no instruction": b"\x80\x02\xff.",
    "not a mapping": b"\x80\x02].",
    "nothing": b"",
    "a tensor of no storage": b"\x80\x02" + REBUILD + b"(K\x00K\x00K\x06\x85K\x01\x85\x89}tR.",
    "a tensor beyond its storage": b"\x80\x02" + TENSOR + b"K\x01K\x06\x85K\x01\x85tR.",
    "a tensor of negative size": b"\x80\x02" + TENSOR + b"K\x00J\xff\xff\xff\xff\x85K\x01\x85tR.",
    "a tensor whose shape may still change": b"\x80\x02" + TENSOR + b"K\x00]K\x01aK\x01\x85tR.",
    "a tensor larger than its storage": b"\x80\x02" + TENSOR + b"K\x00M\xff\xff\x85K\x00\x85tR.",
    "a storage of another size": b"\x80\x02" + STORAGE.replace(b"K\x06", b"K\x07") + b".",
    "a storage that is absent": b"\x80\x02" + STORAGE.replace(b"\x000X", b"\x00zX") + b".",
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_program_that_does_anything_else_is_refused(honest, what):
    with pytest.raises(BackboneError, match="Nothing in it was executed"):
        read_checkpoint(rewritten(honest, PROGRAMS[what]), ALLOWED)


def test_a_tensor_within_its_storage_is_read(honest):
    program = b"\x80\x02}X\x01\x00\x00\x00t" + TENSOR + b"K\x01K\x05\x85K\x01\x85tRs."
    found = read_checkpoint(rewritten(honest, program), ALLOWED)
    assert found["t"].read().tolist() == [1, 2, 3, 4, 5]


def test_a_file_that_is_cut_short_is_refused(honest):
    content = honest.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 30):
        honest.write_bytes(content[:length])
        with pytest.raises(BackboneError, match=r"honest\.ckpt is not read"):
            read_checkpoint(honest, ALLOWED)


def test_a_bare_program_without_an_archive_is_refused(tmp_path):
    mark, file = tmp_path / "was-here", tmp_path / "bare.ckpt"
    file.write_bytes(pickle.dumps(hostile("open", mark), protocol=2))
    with pytest.raises(BackboneError, match="not a zip file"):
        read_checkpoint(file, ALLOWED)
    assert not mark.exists()


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BackboneError, match="No such file"):
        read_checkpoint(tmp_path / "absent.ckpt", ALLOWED)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"data__0": None}, "missing from the archive"),
        ({"data__0": b"1234"}, "not the size"),
        ({"data.pkl": None}, "no program"),
        ({"byteorder": b"big"}, "byte order"),
    ],
)
def test_an_archive_with_other_members_is_refused(honest, members, reason):
    with pytest.raises(BackboneError, match=reason):
        read_checkpoint(rewritten(honest, **members), ALLOWED)


def test_an_archive_with_compressed_members_is_refused(honest):
    packed = honest.with_name("packed.ckpt")
    with zipfile.ZipFile(honest) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    with pytest.raises(BackboneError, match="compressed"):
        read_checkpoint(packed, ALLOWED)


def test_an_archive_that_lies_about_the_size_of_a_member_is_refused(honest):
    content = bytearray(honest.read_bytes())
    entry = content.rindex(b"honest/data/0") - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    struct.pack_into("<II", content, entry + 20, 2**31, 2**31)
    honest.write_bytes(content)
    with pytest.raises(BackboneError, match="larger than the file"):
        read_checkpoint(honest, ALLOWED)


def test_numbers_that_were_changed_are_noticed_when_they_are_read(honest):
    content = honest.read_bytes()
    values = TENSORS["whole"].numpy().tobytes()
    honest.write_bytes(content.replace(values, values[::-1]))
    tensor = read_checkpoint(honest, ALLOWED)["state_dict"]["model.whole"]
    with pytest.raises(BackboneError, match="CRC"):
        tensor.read()

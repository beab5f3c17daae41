"""Model directories made by hand: whole ones, and every way in which a download goes wrong."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest

from launchpad.model.checkpoint import (
    CONFIG_LIMIT,
    CheckpointError,
    ModelConfig,
    inspect_checkpoint,
    read_config,
    strays,
)

if TYPE_CHECKING:
    from pathlib import Path

ONE = "model-00001-of-00002.safetensors"
TWO = "model-00002-of-00002.safetensors"


def shard(count: int = 4) -> bytes:
    """A sound safetensors file of ``count`` float32."""
    header = {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * (4 * count)


def headed(header: object) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two whole shards and their index."""
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    index = {"metadata": {}, "weight_map": {"a": ONE, "b": TWO, "c": TWO}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / ONE).write_bytes(shard())
    (tmp_path / TWO).write_bytes(shard(100))
    return tmp_path


def index(model: Path, *names: Any) -> None:
    weights = {str(number): name for number, name in enumerate(names)}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))


def test_a_whole_checkpoint_has_no_problem(model: Path) -> None:
    assert inspect_checkpoint(model).problems() == ()


def test_its_bytes_are_those_of_its_shards(model: Path) -> None:
    assert inspect_checkpoint(model).total_bytes == len(shard()) + len(shard(100))


def test_a_missing_shard_is_named(model: Path) -> None:
    (model / TWO).unlink()
    assert inspect_checkpoint(model).problems() == (f"{TWO} is missing",)


def test_without_an_index_the_names_tell_what_is_missing(model: Path) -> None:
    (model / "model.safetensors.index.json").unlink()
    (model / TWO).unlink()
    assert inspect_checkpoint(model).problems() == (f"{TWO} is missing",)


def test_one_file_without_an_index_is_whole(model: Path) -> None:
    for name in (ONE, TWO, "model.safetensors.index.json"):
        (model / name).unlink()
    (model / "model.safetensors").write_bytes(shard())
    found = inspect_checkpoint(model)
    assert (found.problems(), found.has_index, found.complete) == ((), False, True)


def test_a_link_to_a_blob_that_is_gone_is_told_from_a_missing_file(model: Path) -> None:
    (model / TWO).unlink()
    (model / TWO).symlink_to("../../blobs/abc")
    assert inspect_checkpoint(model).problems() == (
        f"{TWO} is a link to a file that is not there (a cache that was cleaned, or a mount of half a cache)",
    )


def test_a_link_to_a_blob_that_is_there_is_whole(model: Path) -> None:
    (model / TWO).rename(model / "blob")
    (model / TWO).symlink_to("blob")
    assert inspect_checkpoint(model).complete


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"", f"{TWO} is empty", id="empty"),
        pytest.param(b"\x10\0\0", f"{TWO} is cut short: 3 bytes are no header", id="three bytes"),
        pytest.param(shard()[:20], f"{TWO} is cut short: 20 bytes, its header alone takes", id="in its header"),
        pytest.param(
            shard(600)[:-400], f"{TWO} is cut short: 2.1 KiB of 2.4 KiB (400 bytes are missing)", id="in a tensor"
        ),
        pytest.param(b"<html>404 not found</html>", f"{TWO} is no safetensors file: its header would have", id="HTML"),
        pytest.param(
            b"version https://git-lfs.github.com/spec/v1\n",
            f"{TWO} is no safetensors file: it is a Git LFS pointer",
            id="LFS pointer",
        ),
        pytest.param(b"\0" * 4096, f"{TWO} is no safetensors file: its header would have 0 bytes", id="zeros"),
        pytest.param(headed([1]), f"{TWO} is no safetensors file: its header is JSON, but not an object", id="a list"),
        pytest.param(struct.pack("<Q", 4) + b"{{{{", f"{TWO} is no safetensors file: its header is no JSON", id="junk"),
        pytest.param(
            headed({"w": 1}), f"{TWO} is no safetensors file: its header gives no place to tensor 'w'", id="no place"
        ),
        pytest.param(
            headed({"w": {"data_offsets": [8, 4]}}),
            f"{TWO} is no safetensors file: its header gives no place",
            id="backwards",
        ),
        pytest.param(
            headed({"w": {"data_offsets": [0, 10**30]}}),
            f"{TWO} is no safetensors file: its header gives no",
            id="absurd",
        ),
    ],
)
def test_a_damaged_shard_is_named_with_what_is_wrong(model: Path, content: bytes, problem: str) -> None:
    (model / TWO).write_bytes(content)
    (found,) = inspect_checkpoint(model).problems()
    assert found.startswith(problem)


def test_a_directory_in_a_shards_place_cannot_be_read(model: Path) -> None:
    (model / TWO).unlink()
    (model / TWO).mkdir()
    assert inspect_checkpoint(model).problems() == (f"{TWO} cannot be read: it is no regular file",)


@pytest.mark.parametrize("name", ["../other/model.safetensors", "/etc/passwd", "a/../../b.safetensors"])
def test_an_index_that_climbs_out_is_not_followed(model: Path, name: str) -> None:
    index(model, ONE, name)
    assert inspect_checkpoint(model).problems() == (
        f"{name} is named by the index but lies outside the model's directory",
    )


def test_a_hostile_name_is_not_printed_raw(model: Path) -> None:
    index(model, ONE, "\x1b[2J.safetensors")
    assert "\x1b" not in "".join(inspect_checkpoint(model).problems())


def test_a_name_too_long_for_the_file_system_is_a_problem_not_an_exception(model: Path) -> None:
    index(model, ONE, "x" * 5000 + ".safetensors")
    assert "cannot be read: File name too long" in inspect_checkpoint(model).problems()[0]


def test_many_missing_shards_are_counted_after_the_first_few(model: Path) -> None:
    index(model, *(f"model-{n:05d}-of-00046.safetensors" for n in range(1, 47)))
    found = inspect_checkpoint(model).problems()
    assert (len(found), found[-1]) == (6, "and 41 more of 46 shards: missing")


def test_leftovers_of_a_download_are_named_beside_what_is_missing(model: Path) -> None:
    (model / TWO).unlink()
    inner = model / ".cache/huggingface/download"
    inner.mkdir(parents=True)
    (inner / "abc.incomplete").touch()
    assert inspect_checkpoint(model).problems()[-1] == (
        "a download did not end: .cache/huggingface/download/abc.incomplete left over"
    )


def test_leftovers_beside_a_whole_checkpoint_are_no_problem(model: Path) -> None:
    (model / "abc.incomplete").touch()
    found = inspect_checkpoint(model)
    assert (found.incomplete, found.problems()) == (("abc.incomplete",), ())


def test_a_directory_without_weights_says_so(model: Path) -> None:
    for name in (ONE, TWO, "model.safetensors.index.json"):
        (model / name).unlink()
    assert inspect_checkpoint(model).problems() == (
        "no weights: neither model.safetensors.index.json nor any *.safetensors file",
    )


@pytest.mark.parametrize(
    ("said", "config"),
    [
        (b"{}", ModelConfig()),
        (
            (
                b'{"architectures": ["A"], "model_type": "deepseek_v4", "torch_dtype": "bfloat16",'
                b' "max_position_embeddings": 1048576, "quantization_config": {"quant_method": "fp8"}}'
            ),
            ModelConfig(("A",), "deepseek_v4", "bfloat16", 1048576, "fp8"),
        ),
        (
            b'{"dtype": "float32", "text_config": {"max_position_embeddings": 512}}',
            ModelConfig(dtype="float32", max_positions=512),
        ),
        (b'{"quantization_config": {"quant_algo": "NVFP4"}}', ModelConfig(quantization="NVFP4")),
        (
            b'{"architectures": "A", "model_type": 7, "max_position_embeddings": true, "quantization_config": []}',
            ModelConfig(),
        ),
    ],
)
def test_the_config_is_read_for_what_it_says(said: bytes, config: ModelConfig) -> None:
    assert read_config(said) == config


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("config.json", b"", "config.json is empty"),
        ("config.json", b"{", "config.json is no JSON"),
        ("config.json", b"\xff\xfe\x00", "config.json is no JSON"),
        ("config.json", b"[" * 100_000, "config.json is no JSON"),
        ("config.json", b"[]", "config.json is JSON, but not an object"),
        ("config.json", b" " * (CONFIG_LIMIT + 1), "config.json is larger than 8.0 MiB"),
        ("model.safetensors.index.json", b"{}", "model.safetensors.index.json is without a weight_map"),
        (
            "model.safetensors.index.json",
            b'{"weight_map": {"a": 1}}',
            "model.safetensors.index.json is a weight_map of something else than file names",
        ),
    ],
)
def test_junk_where_json_belongs_is_an_error_that_names_the_file(
    model: Path, name: str, content: bytes, problem: str
) -> None:
    (model / name).write_bytes(content)
    with pytest.raises(CheckpointError) as found:
        inspect_checkpoint(model)
    assert found.value.message == f"cannot read the model {model}: {problem}"


def test_a_path_that_is_not_there_is_an_error_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as found:
        inspect_checkpoint(tmp_path / "no")
    assert (found.value.message, found.value.hint) == (
        f"cannot read the model {tmp_path / 'no'}: no such directory",
        f"hf download <organisation>/<model> --local-dir {tmp_path / 'no'}",
    )


def test_a_file_is_no_model(model: Path) -> None:
    with pytest.raises(CheckpointError, match="it is a file, not a directory"):
        inspect_checkpoint(model / ONE)


def test_a_directory_without_a_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"it has no config\.json"):
        inspect_checkpoint(tmp_path)


def test_a_hubs_cache_is_answered_with_the_snapshot_inside(tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    with pytest.raises(CheckpointError) as found:
        inspect_checkpoint(tmp_path)
    assert found.value.hint == f"a hub cache: name {snapshot}"


def test_a_config_that_is_a_dangling_link_is_an_error(model: Path) -> None:
    (model / "config.json").unlink()
    (model / "config.json").symlink_to("gone")
    with pytest.raises(CheckpointError, match=r"config\.json: No such file or directory"):
        inspect_checkpoint(model)


# -- links, as a container sees them ------------------------------------------------------------------------------------------


def stray(model: Path, link: str, name: str = "config.json", **mounts: Path) -> list[tuple[str, str]]:
    """What cannot be read of a model seen at /models/m once ``name`` is a link; ``mounts`` are further binds, by last name."""
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to(link)
    binds = {"/models/m": str(model), **{f"/{inside}": str(outside) for inside, outside in mounts.items()}}
    return [(found.name, found.wanted) for found in strays(model, inspect_checkpoint(model).linked, binds, "/models/m")]


@pytest.fixture
def snapshot(tmp_path: Path, model: Path) -> Path:
    """A model two levels down, with ``blobs/c.json`` where a hub's cache has it."""
    inner = tmp_path / "hub" / "snapshots" / "abc"
    inner.mkdir(parents=True)
    for file in [file for file in model.iterdir() if file.is_file()]:
        file.rename(inner / file.name)
    (tmp_path / "hub" / "blobs").mkdir()
    (tmp_path / "hub" / "blobs" / "c.json").write_text('{"model_type": "llama"}')
    return inner


def test_a_link_into_a_hubs_blobs_leads_nowhere_in_the_container(snapshot: Path) -> None:
    assert stray(snapshot, "../../blobs/c.json") == [("config.json", "/blobs/c.json")]


def test_a_link_beside_the_folder_leads_nowhere_in_the_container(snapshot: Path) -> None:
    (snapshot.parent / "c.json").write_text("{}")
    assert stray(snapshot, "../c.json") == [("config.json", "/models/c.json")]


def test_an_absolute_link_into_the_folder_itself_leads_nowhere_in_the_container(snapshot: Path) -> None:
    (snapshot / "real.json").write_text("{}")
    assert stray(snapshot, f"{snapshot}/real.json") == [("config.json", f"{snapshot}/real.json")]


def test_a_shard_in_a_folder_that_is_a_link_leads_nowhere_in_the_container(snapshot: Path) -> None:
    (snapshot / ONE).rename(snapshot.parent.parent / "blobs" / ONE)
    (snapshot / "part").symlink_to("../../blobs")
    index(snapshot, f"part/{ONE}", TWO)
    binds = {"/models/m": str(snapshot)}
    found = strays(snapshot, inspect_checkpoint(snapshot).linked, binds, "/models/m")
    assert [(item.name, item.wanted) for item in found] == [(f"part/{ONE}", f"/blobs/{ONE}")]


def test_a_link_within_the_folder_is_read_in_the_container(snapshot: Path) -> None:
    (snapshot / "real.json").write_text("{}")
    assert stray(snapshot, "real.json") == []


def test_a_link_that_leaves_and_comes_back_by_the_mounts_name_is_read_in_the_container(snapshot: Path) -> None:
    (snapshot / "real.json").write_text("{}")
    (snapshot.parent / "m").symlink_to("abc")
    assert stray(snapshot, "../m/real.json") == []


def test_a_link_to_what_is_mounted_where_it_leads_is_read_in_the_container(snapshot: Path) -> None:
    assert stray(snapshot, "../../blobs/c.json", blobs=snapshot.parent.parent / "blobs") == []


def test_words_for_people_may_lead_anywhere(snapshot: Path) -> None:
    assert stray(snapshot, "../../blobs/c.json", "README.md") == []


def test_a_folder_that_is_itself_a_link_is_no_matter(snapshot: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(snapshot)
    (snapshot / "real.json").write_text("{}")
    assert stray(tmp_path / "current", "real.json") == []


def test_links_in_a_ring_end(snapshot: Path) -> None:
    (snapshot.parent / "ring").write_text("{}")
    (snapshot / "ring").symlink_to("ring2")
    (snapshot / "ring2").symlink_to("../m/ring")
    (snapshot.parent / "m").mkdir()
    (snapshot.parent / "m" / "ring").write_text("{}")
    assert [name for name, _ in stray(snapshot, "ring2")] == ["config.json", "ring", "ring2"]

"""CDI specs and the container toolkit: files as nvidia-ctk writes them, and files that nobody should trust."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from launchpad.rig.cdi import CdiSpecs, docker_facts, parse_cdi, read_cdi, read_toolkit_version
from launchpad.rig.facts import DockerFacts

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """---
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
  - name: "0"
    containerEdits:
      deviceNodes:
        - path: /dev/nvidia0
  - name: all
    containerEdits:
      deviceNodes:
        - path: /dev/nvidia0
containerEdits:
  mounts:
    - hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.580.126.09
      containerPath: /usr/lib/x86_64-linux-gnu/libcuda.so.580.126.09
      options: [ro, nosuid, nodev, rbind, rprivate]
"""


def test_a_spec_of_nvidias_names_its_devices_and_the_driver_it_was_made_for(tmp_path: Path) -> None:
    (tmp_path / "nvidia.yaml").write_text(SPEC)
    assert read_cdi((tmp_path, tmp_path / "none")) == CdiSpecs(("nvidia.com/gpu=0", "nvidia.com/gpu=all"), "580.126.09")


def test_a_later_folder_adds_its_devices(tmp_path: Path) -> None:
    for name, spec in (("a", SPEC), ("b", json.dumps({"kind": "vendor.com/net", "devices": [{"name": "x"}]}))):
        (tmp_path / name).mkdir()
        (tmp_path / name / ("s.yaml" if name == "a" else "s.json")).write_text(spec)
    found = read_cdi((tmp_path / "a", tmp_path / "b"))
    assert found == CdiSpecs(("nvidia.com/gpu=0", "nvidia.com/gpu=all", "vendor.com/net=x"), "580.126.09")


def test_without_spec_files_there_is_no_device(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing")
    assert read_cdi((tmp_path,)) == CdiSpecs((), None)


def test_a_folder_that_is_none_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert read_cdi((tmp_path / "file",)) is None


def test_a_file_too_large_for_a_spec_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_text(SPEC + "#" * 300_000)
    assert read_cdi((tmp_path,)) == CdiSpecs((), None)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe\x00",
        b"kind: [1]\ndevices: 3",
        b"kind: nvidia.com/gpu\ndevices: {name: x}",
        b"kind: ../../etc\ndevices: [{name: x}]",
        b"kind: nvidia.com/gpu\ndevices: [{name: 'a b\\n'}, 3, {}, {name: {x: y}}]",
        b"!!python/object/apply:os.system ['true']",
        b"- " * 100_000,
        b"[" * 100_000,
        b"? " * 100_000,
        b"a: &a [x]\nb: &b {k: *a}\nkind: nvidia.com/gpu\ndevices: [{name: x}]",
        b"kind: nvidia.com/gpu\nkind: 2001-02-31\ndevices: [",
    ],
)
@pytest.mark.parametrize("is_json", [True, False])
def test_what_is_no_spec_holds_no_device_and_takes_no_time(text: bytes, is_json: bool) -> None:
    start = time.monotonic()
    found = parse_cdi(text, is_json=is_json)
    assert (found, time.monotonic() - start < 2) == ((), True)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("NVIDIA Container Toolkit CLI version 1.17.8\ncommit: f202b80a9b9d0db00d9b1d73c0128c8962c55f4d\n", "1.17.8"),
        ("NVIDIA Container Toolkit CLI version 1.18.0-rc.2\n", "1.18.0-rc.2"),
        ("usage: nvidia-ctk", None),
        (None, None),
    ],
)
def test_the_toolkits_version_is_its_own_word(said: str | None, version: str | None) -> None:
    assert read_toolkit_version(lambda: said) == version


def test_docker_facts_are_put_together_from_plain_values() -> None:
    cdi = CdiSpecs(("nvidia.com/gpu=0",), "580.1")
    assert docker_facts("29.1.2", ("runc", "nvidia"), "2", cdi=cdi, toolkit_version="1.17.8") == DockerFacts(
        "29.1.2", ("nvidia", "runc"), ("nvidia.com/gpu=0",), "580.1", "1.17.8", "2"
    )


def test_without_answers_docker_is_unknown_in_every_part() -> None:
    assert docker_facts() == DockerFacts()

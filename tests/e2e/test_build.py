"""``launchpad build`` of the SM120 fork's template, from a forge on loopback: right and wrong commits, moved tags, cut builds."""

from __future__ import annotations

import os
import signal
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from launchpad.runtime.docker import connect
from launchpad.shipped import shipped
from tests.e2e.forge import FILES, TAG, Forge, cuda_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.harness import Ran, Rig

NAME = "the-fork"


class Workshop:
    """A profile like the shipped one whose sources come from the forge of this test."""

    def __init__(self, rig: Rig, root: Path) -> None:
        self.rig = rig
        self.forge = Forge(root / "forge", rig.tag)
        self.image = f"launchpad-e2e/{rig.tag}:fork"
        self.base = f"launchpad-e2e/{rig.tag}-cuda:13.0.3-devel"
        runtime = connect(os.environ)
        cuda_image(runtime, self.base, root)
        runtime.close()
        text = (shipped("profiles") / "v4-flash-vllm-sm120-fork.toml").read_text()
        self.profile: dict[str, Any] = tomllib.loads(text)
        self.profile["image"]["reference"] = self.image
        self.set(
            repository=self.forge.url("vllm"),
            deepgemm_repository=self.forge.url("DeepGEMM"),
            deepgemm_commit=self.forge.deepgemm,
            tag=TAG,
            commit=self.forge.commit,
            base_image=self.base,
        )

    def set(self, **args: str) -> None:
        self.profile["image"]["build"]["args"].update(args)
        (self.rig.folder / f"{NAME}.toml").write_text(tomli_w.dumps(self.profile))

    def build(self, *words: str) -> Ran:
        return self.rig.run("build", NAME, *words)

    def planned(self) -> list[tuple[str, str]]:
        """What a plan says of the image, on the rig that the profile is for: actions and causes."""
        steps = self.rig.run("plan", NAME, "--rig", "4x-rtx-pro-6000", "--json").json["steps"]
        return [(step["action"], step["cause"]) for step in steps if step["target"] == f"image {self.image}"]

    def line(self, arg: str) -> int:
        """The line of the profile that says that build argument."""
        lines = (self.rig.folder / f"{NAME}.toml").read_text().splitlines()
        return next(number for number, line in enumerate(lines, start=1) if line.startswith(f"{arg} = "))

    def labels(self) -> dict[str, str]:
        return dict(self.rig.client.images.get(self.image).labels)

    def close(self) -> None:
        self.forge.close()
        for name in (self.image, self.base):
            if self.rig.client.images.list(name):
                self.rig.client.images.remove(name, force=True)


@pytest.fixture
def shop(rig: Rig, tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(rig, tmp_path)
    yield made
    made.close()


def said(ran: Ran) -> list[str]:
    """What the steps of a build wrote, in turn."""
    return [line["said"] for line in ran.lines if line["event"] == "step" and line["said"]]


@pytest.mark.parametrize("builder", [(), ("--classic",)], ids=["buildkit", "classic"])
def test_the_pinned_commit_is_built_and_stands_on_the_image(shop: Workshop, builder: tuple[str, ...]) -> None:
    shop.build(*builder).ends(0, "built launchpad-e2e/", "MAX_JOBS=")
    labels = shop.labels()
    base = shop.rig.client.images.get(shop.base).id
    assert {key.removeprefix("io.launchpad.pin."): text for key, text in labels.items() if ".pin." in key} == {
        "repository": shop.forge.url("vllm"),
        "tag": TAG,
        "commit": shop.forge.commit,
        "deepgemm-repository": shop.forge.url("DeepGEMM"),
        "deepgemm-commit": shop.forge.deepgemm,
        "base-image": shop.base,
        "base-image-digest": base,
        "arch-list": "12.0",
        "cuda": "13.0",
        "torch": "2.11.0",
        "flashinfer": "0.6.14",
        "nvcc-threads": "2",
        "source-date-epoch": "1784246400",
        "uv": "0.13.9",
    }


@pytest.mark.parametrize("builder", [(), ("--classic",)], ids=["buildkit", "classic"])
def test_a_plan_has_no_step_for_what_either_builder_made_and_one_for_a_pin_that_changed(
    shop: Workshop, builder: tuple[str, ...]
) -> None:
    shop.build(*builder).ends(0)
    before = shop.planned()
    shop.set(nvcc_threads="3")
    assert (before, shop.planned()) == (
        [],
        [("build", "its pins changed since it was built: nvcc_threads not said -> 3")],
    )


def test_an_older_commit_than_the_branchs_head_is_fetched_by_its_hash(shop: Workshop) -> None:
    shop.forge.add("vllm", {"README": "the branch moves on"})
    shop.build().ends(0)
    assert shop.labels()["org.opencontainers.image.revision"] == shop.forge.commit


def test_a_commit_that_the_repository_does_not_have_is_refused_by_name(shop: Workshop) -> None:
    nowhere = "0123456789" * 4
    shop.set(tag="", commit=nowhere)
    shop.build().ends(1, f"cannot build {shop.image}: ", f"does not give commit {nowhere}")


def test_a_tag_that_moved_after_a_build_is_refused_although_every_other_step_is_cached(shop: Workshop) -> None:
    shop.build().ends(0)
    moved = shop.forge.add("vllm", {"README": "something else"})
    shop.forge.git("vllm", "tag", "-f", TAG)
    shop.build().ends(1, f"tag {TAG} of {shop.forge.url('vllm')} has moved: it is at {moved}, and the pin says")


def test_a_tag_that_is_gone_is_refused_by_name(shop: Workshop) -> None:
    shop.forge.git("vllm", "tag", "-d", TAG)
    shop.build().ends(1, f"has no tag {TAG} any more")


def test_a_branch_in_place_of_a_commit_is_refused_before_anything_is_built(shop: Workshop) -> None:
    shop.set(commit="main")
    place = f"{shop.rig.folder}/{NAME}.toml:{shop.line('commit')}: "
    ran = shop.build().ends(1, f"{place}commit is 'main'", f"git ls-remote {shop.forge.url('vllm')} 'main*'")
    assert "Step" not in ran.err


def test_a_commit_that_asks_for_another_torch_is_refused(shop: Workshop) -> None:
    shop.set(torch="2.13.0")
    shop.build().ends(1, "the pinned commit asks for torch 2.11.0, and image.build.args.torch says 2.13.0")


def test_a_full_disk_is_told_as_that(shop: Workshop) -> None:
    commit = shop.forge.add("vllm", {"compile.sh": "set -e\ncat /proc/version > /dev/full\n"})
    shop.set(tag="", commit=commit)
    shop.build().ends(1, f"cannot build {shop.image}: the Docker Engine's disk is full", "docker system df")


def test_a_build_that_ctrl_c_cut_goes_on_with_the_files_that_were_compiled(shop: Workshop) -> None:
    cut = shop.rig.start("build", NAME, "--json")
    assert cut.stdout is not None
    next(line for line in cut.stdout if "compiling 3.cu" in line)
    cut.send_signal(signal.SIGINT)
    shop.rig.end(cut).ends(130, "launchpad build the-fork goes on from there")
    again = said(shop.build("--json").ends(0))
    assert {"compiling 1.cu", "compiling 2.cu"}.isdisjoint(again)
    assert f"compiling {FILES}.cu" in again


def test_a_build_that_sigterm_ends_says_so_and_that_the_next_one_goes_on(shop: Workshop) -> None:
    cut = shop.rig.start("build", NAME, "--json")
    assert cut.stdout is not None
    next(line for line in cut.stdout if "compiling 3.cu" in line)
    cut.send_signal(signal.SIGTERM)
    shop.rig.end(cut).ends(
        143, "ended by SIGTERM; what is finished is kept: launchpad build the-fork goes on from there"
    )


def test_a_second_build_of_the_same_compiles_nothing_and_makes_the_same_image(shop: Workshop) -> None:
    shop.build().ends(0)
    first = shop.rig.client.images.get(shop.image).id
    assert [line for line in said(shop.build("--json").ends(0)) if ".cu" in line] == []
    assert shop.rig.client.images.get(shop.image).id == first

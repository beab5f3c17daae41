"""Two deployments on one rig: side by side on GPUs of their own, refused by name where they would meet."""

from __future__ import annotations

import pytest

from tests.e2e.harness import NewRig, Rig, Scene


@pytest.fixture(scope="module")
def pair(shared: NewRig) -> Scene:
    """Two servers of two GPUs each; the scene is told of the second."""
    rig = shared()
    rig.rehearse(rig.profile("one", extends="v4-flash-sglang-tp2")).ends(0)
    two = rig.profile("two", extends="v4-flash-sglang-tp2")
    return Scene(rig, two, rig.rehearse(two).ends(0))


def test_two_deployments_get_disjoint_gpus(pair: Scene) -> None:
    views = pair.rig.run("status", "--json").ends(0).json
    assert [view["phase"] for view in views] == ["READY", "READY"]
    assert [[gpu["index"] for gpu in view["gpus"]] for view in views] == [[0, 1], [2, 3]]


def test_a_third_is_refused_by_name_and_nothing_is_started(pair: Scene) -> None:
    rig = pair.rig
    third = rig.profile("three", extends="v4-flash-sglang-tp2")
    one = pair.name.replace("two", "one")
    rig.rehearse(third).ends(1, f"cannot place {third}", one, pair.name, f"launchpad down {one}")
    assert len(rig.mine()) == 2
    assert not rig.deployment(third).exists()


def test_a_gpu_asked_for_by_index_is_refused_with_its_holder(pair: Scene) -> None:
    rig = pair.rig
    fourth = rig.profile("four", extends="v4-flash-sglang-tp2", gpus={"indices": [1, 2]})
    rig.rehearse(fourth).ends(1, f"cannot place {fourth} on GPU 1", pair.name.replace("two", "one"))


def test_a_port_of_another_deployment_is_refused_with_its_name(pair: Scene) -> None:
    rig = pair.rig
    taken = rig.ports[pair.name]
    other = rig.generic("other", image="launchpad-e2e/any:1", publish={"port": taken})
    rig.run("up", other).ends(1, f"cannot publish 127.0.0.1:{taken}: deployment {pair.name} is published there")
    assert not rig.deployment(other).exists()


def test_another_launchpad_on_the_same_engine_may_rehearse_the_same_rig(pair: Scene, rig: Rig) -> None:
    rig.rehearse(rig.profile()).ends(0)


def test_a_container_of_another_launchpad_is_never_taken_over(pair: Scene, rig: Rig) -> None:
    (rig.folder / f"{pair.name}.toml").write_text((pair.rig.folder / f"{pair.name}.toml").read_text())
    before = pair.rig.inspect(pair.name)["Id"]
    rig.rehearse(pair.name).ends(1, "a launchpad with another state directory made that container")
    assert pair.rig.inspect(pair.name)["Id"] == before


# ---- on the same cards ------------------------------------------------------------------------------------------------


def sharer(rig: Rig, word: str, share: float) -> str:
    return rig.profile(word, extends="v4-flash-sglang-tp2", gpus={"share": share}, serving={"memory_fraction": share})


def test_two_that_share_load_one_after_the_other_and_serve_side_by_side(rig: Rig) -> None:
    big, small = sharer(rig, "big", 0.6), sharer(rig, "small", 0.3)
    rig.rehearse(big, load=3, words=["--detach"]).ends(0)
    rig.rehearse(small, load=0.4).ends(0)
    views = rig.run("status", "--json").ends(0).json
    assert [[gpu["index"] for gpu in view["gpus"]] for view in views] == [[0, 1], [0, 1]]
    assert [view["phase"] for view in views] == ["READY", "READY"]
    begun = next(item.at for item in rig.journal(small) if item.event == "container-started")
    ready = next(item.at for item in rig.journal(big) if item.to == "READY")
    assert rig.count(small, "waiting") == 1
    assert begun >= ready


def test_a_share_that_does_not_add_up_is_refused(rig: Rig) -> None:
    rig.rehearse(sharer(rig, "big", 0.6)).ends(0)
    rig.rehearse(sharer(rig, "other", 0.3)).ends(0)
    rig.rehearse(sharer(rig, "third", 0.5)).ends(0)  # the other two cards are free
    fourth = rig.profile(
        "fourth",
        extends="v4-flash-sglang-tp2",
        gpus={"share": 0.5, "indices": [0, 1]},
        serving={"memory_fraction": 0.5},
    )
    rig.rehearse(fourth).ends(1, f"cannot place {fourth} on GPU 0", "hold 0.9 of it; 0.5 more is over 0.95")

"""Flash and a small model on the same four cards: the shipped pair stands, and whoever does not fit is refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launchpad.deploy.claims import MOST, claims_of
from launchpad.deploy.spec import Spec, resolve
from launchpad.errors import LaunchpadError
from launchpad.profiles.catalog import Catalog, shipped_profiles
from launchpad.rig.catalog import RigCatalog
from tests.deploy.specs import container

if TYPE_CHECKING:
    from launchpad.profiles.schema import Profile

SHIPPED = Catalog((shipped_profiles(),))
FACTS = RigCatalog(()).facts("4x-rtx-pro-6000")
FLASH, EMBEDDINGS = "v4-flash-sglang-tp4-shared", "qwen3-embedding-vllm-shared"


def shipped(name: str, **gpus: object) -> Profile:
    """A shipped profile, with ``gpus`` changed."""
    found = SHIPPED.load(name).profile
    assert found.gpus is not None
    return found.model_copy(update={"gpus": found.gpus.model_copy(update=gpus)})


def seated(name: str, profile: Profile, *beside: Spec) -> Spec:
    """``profile`` on the rig, beside those that stand there and run."""
    share = profile.gpus.share if profile.gpus is not None else None
    claims = claims_of(name, beside, [container(each) for each in beside])
    return resolve(name, profile, FACTS, taken=claims.taken(share), shares=claims.shares)


def cards(spec: Spec) -> list[int]:
    return [gpu.index for gpu in spec.gpus]


def test_both_are_seated_and_meet_on_a_card() -> None:
    flash = seated(FLASH, shipped(FLASH))
    small = seated(EMBEDDINGS, shipped(EMBEDDINGS), flash)

    assert (cards(flash), cards(small)) == ([0, 1, 2, 3], [0])


def test_they_are_seated_in_the_other_order_too() -> None:
    small = seated(EMBEDDINGS, shipped(EMBEDDINGS))

    assert cards(seated(FLASH, shipped(FLASH), small)) == [0, 1, 2, 3]


def test_their_shares_leave_room_for_what_no_share_counts() -> None:
    shares = [seated(name, shipped(name)).gpu_share or 1 for name in (FLASH, EMBEDDINGS)]

    assert sum(shares) < MOST


@pytest.mark.parametrize("name", [FLASH, EMBEDDINGS])
def test_an_engine_is_told_less_than_the_share_because_graphs_and_contexts_come_on_top(name: str) -> None:
    profile = shipped(name)
    assert profile.gpus is not None
    share, told = profile.gpus.share, profile.serving.memory_fraction

    assert share is not None
    assert told is not None
    assert 0.01 < share - told < 0.1


def test_they_answer_on_ports_of_their_own() -> None:
    assert shipped(FLASH).own_publish.port != shipped(EMBEDDINGS).own_publish.port


def test_one_more_goes_to_the_next_card() -> None:
    flash = seated(FLASH, shipped(FLASH))
    small = seated(EMBEDDINGS, shipped(EMBEDDINGS), flash)

    assert cards(seated("third", shipped(EMBEDDINGS), flash, small)) == [1]


def test_a_third_on_the_same_card_is_refused_by_the_names_of_both() -> None:
    flash = seated(FLASH, shipped(FLASH))
    small = seated(EMBEDDINGS, shipped(EMBEDDINGS), flash)

    with pytest.raises(
        LaunchpadError, match=rf"cannot place third on GPU 0: deployments {FLASH}, {EMBEDDINGS} hold 0\.\d+ of it; "
    ):
        seated("third", shipped(EMBEDDINGS, count=None, indices=[0]), flash, small)


def test_a_share_that_is_too_big_is_refused_by_the_name_of_the_holder() -> None:
    flash = seated(FLASH, shipped(FLASH))

    with pytest.raises(
        LaunchpadError, match=rf"held: GPU 0, 1, 2, 3: deployment {FLASH} holds 0\.\d+ of it; 0\.14 more is over 0\.95"
    ):
        seated(EMBEDDINGS, shipped(EMBEDDINGS, share=0.14), flash)


def test_flash_that_wants_its_cards_for_itself_is_refused_by_the_name_of_the_small_one() -> None:
    small = seated(EMBEDDINGS, shipped(EMBEDDINGS))

    with pytest.raises(LaunchpadError, match=rf"needs 4 GPUs and 3 are free; held: 0 \({EMBEDDINGS}\)"):
        seated("v4-flash-sglang-tp4", shipped("v4-flash-sglang-tp4"), small)


def test_the_small_one_proves_itself_by_a_vector() -> None:
    assert seated(EMBEDDINGS, shipped(EMBEDDINGS)).completion.kind == "embedding"

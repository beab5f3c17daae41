"""Who holds what: deployments share a rig as long as they share no GPU and no port."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launchpad.deploy.claims import Claims, claims_of
from launchpad.deploy.spec import choose_gpus
from launchpad.errors import LaunchpadError
from launchpad.rig.catalog import RigCatalog
from tests.deploy.specs import container, gpu, profile, rig, spec

if TYPE_CHECKING:
    from launchpad.deploy.spec import Spec


ONE = spec(name="one")
TWO = spec(profile(publish={"port": 8001}), name="two", taken={"GPU-0": "one", "GPU-1": "one"})


def test_a_wanted_deployment_holds_its_gpus_and_its_port_though_nothing_runs() -> None:
    assert claims_of("other", [ONE], []) == Claims({"GPU-0": "one", "GPU-1": "one"}, {("127.0.0.1", 8000): "one"})


def test_a_running_container_holds_its_gpus_though_nobody_wants_it() -> None:
    assert claims_of("other", [], [container(ONE)]).gpus == {"GPU-0": "one", "GPU-1": "one"}


def test_a_running_container_of_another_launchpad_holds_its_gpus_too() -> None:
    assert set(claims_of("other", [], [container(ONE, owner="/elsewhere")]).gpus) == {"GPU-0", "GPU-1"}


def test_a_container_that_ended_holds_nothing() -> None:
    assert claims_of("other", [], [container(ONE, "exited")]).gpus == {}


def test_nobody_is_held_up_by_himself() -> None:
    assert claims_of("one", [ONE], [container(ONE)]) == Claims({}, {})


def test_a_container_without_gpus_holds_none() -> None:
    assert claims_of("other", [], [container(spec(profile(gpus=None, parallel=None), name="cpu"))]).gpus == {}


def test_a_container_that_names_no_deployment_is_no_holder() -> None:
    assert claims_of("other", [], [container(ONE, labels={"io.launchpad.gpus": "GPU-0"})]).gpus == {}


def test_two_deployments_stand_side_by_side_on_disjoint_gpus() -> None:
    taken = claims_of("two", [ONE], [container(ONE)]).gpus

    assert [seat.index for seat in spec(name="two", taken=taken).gpus] == [2, 3]


def test_a_third_is_refused_by_the_names_of_those_that_stand() -> None:
    taken = claims_of("three", [ONE, TWO], []).gpus

    with pytest.raises(LaunchpadError, match=r"held: 0 \(one\), 1 \(one\), 2 \(two\), 3 \(two\)") as caught:
        spec(name="three", taken=taken)
    assert caught.value.hint == "launchpad down one two"


def test_an_overlap_by_index_is_refused_by_name() -> None:
    taken = claims_of("pinned", [ONE], []).gpus

    with pytest.raises(LaunchpadError, match="cannot place pinned on GPU 1: deployment one holds it"):
        spec(profile(gpus={"count": None, "indices": [1, 2]}), name="pinned", taken=taken)


@pytest.mark.parametrize(
    ("held", "asked", "holder"),
    [
        ("127.0.0.1", "127.0.0.1", "one"),
        ("127.0.0.1", "0.0.0.0", "one"),
        ("127.0.0.1", "::", "one"),
        ("0.0.0.0", "127.0.0.1", "one"),
        ("0.0.0.0", "10.1.2.3", "one"),
        ("::", "::1", "one"),
        ("::", "127.0.0.1", "one"),
        ("127.0.0.1", "10.1.2.3", None),
        ("127.0.0.1", "::1", None),
    ],
)
def test_an_address_is_taken_where_both_would_listen(held: str, asked: str, holder: str | None) -> None:
    assert Claims({}, {(held, 8000): "one"}).port_holder(asked, 8000) == holder


def test_a_deployment_on_one_recorded_rig_is_in_nobodys_way_on_another() -> None:
    wish, rigs = profile(gpus={"compute_capability": []}), RigCatalog()
    taken = claims_of("two", [spec(wish, rigs.facts("4x-gb300"), name="one")], []).gpus

    assert [seat.index for seat in spec(wish, rigs.facts("4x-rtx-pro-6000"), name="two", taken=taken).gpus] == [0, 1]
    assert [seat.index for seat in spec(wish, rigs.facts("4x-gb300"), name="two", taken=taken).gpus] == [2, 3]


def test_a_holder_of_two_cards_that_shares_one_is_named_once() -> None:
    shared = {"GPU-0": "one, two", "GPU-1": "two", "GPU-2": "one, two", "GPU-3": "two"}

    with pytest.raises(LaunchpadError) as caught:
        spec(name="three", taken=shared)
    assert caught.value.hint == "launchpad down one two"


def test_another_port_is_free() -> None:
    assert Claims({}, {("0.0.0.0", 8000): "one"}).port_holder("0.0.0.0", 8001) is None


def test_a_rehearsal_of_another_launchpad_holds_none_of_our_recorded_gpus() -> None:
    labels = {**container(ONE).labels, "io.launchpad.rehearsal": "true"}

    assert claims_of("other", [], [container(ONE, owner="/elsewhere", labels=labels)]).gpus == {}


# ---- shares -----------------------------------------------------------------------------------------------------------


def sharing(share: float | None, **gpus: object) -> dict[str, object]:
    return {"gpus": {"share": share, **gpus}, "serving": {"memory_fraction": share}}


def sharer(name: str, share: float | None, port: int = 8001, taken: dict[str, str] | None = None) -> Spec:
    return spec(profile(**sharing(share), publish={"port": port}), name=name, taken=taken or {})


def test_two_that_share_stand_on_the_same_cards_where_their_shares_add_up() -> None:
    big = sharer("big", 0.7)
    taken = claims_of("small", [big], [container(big)]).taken(0.25)

    assert [seat.index for seat in sharer("small", 0.25, 8002, taken).gpus] == [0, 1]


@pytest.mark.parametrize("share", [0.26, None], ids=["too much", "all of it"])
def test_a_share_that_does_not_fit_finds_the_card_taken(share: float | None) -> None:
    big = sharer("big", 0.7)

    assert set(claims_of("small", [big], [container(big)]).taken(share)) == {"GPU-0", "GPU-1"}


@pytest.mark.parametrize(("first", "second"), [(0.8, 0.15), (0.4, 0.55), (0.82, 0.13)])
def test_shares_of_the_very_most_that_there_is_to_share_fit(first: float, second: float) -> None:
    """As decimals: in binary 0.8 and 0.15 are more than 0.95."""
    assert claims_of("small", [sharer("big", first)], []).taken(second) == {}


def test_who_does_not_share_lets_nobody_stand_beside_it() -> None:
    assert set(claims_of("small", [ONE], []).taken(0.1)) == {"GPU-0", "GPU-1"}


def test_three_that_share_are_added_up_and_all_named() -> None:
    pair = [sharer("big", 0.5), sharer("small", 0.3, 8002)]
    claims = claims_of("third", pair, [])

    assert (claims.taken(0.1), claims.taken(0.2)) == ({}, {"GPU-0": "big, small", "GPU-1": "big, small"})


def refused(share: float, wanted: list[Spec], **gpus: object) -> str:
    claims = claims_of("third", wanted, [])
    with pytest.raises(LaunchpadError) as caught:
        choose_gpus(
            "third",
            profile(**sharing(share, **gpus)),
            rig(gpu(0), gpu(1)),
            taken=claims.taken(share),
            keep=(),
            shares=claims.shares,
        )
    return caught.value.message


def test_a_share_that_is_too_much_is_told_with_what_is_held() -> None:
    pair = [sharer("emb1", 0.04), sharer("flash1", 0.9, 8002)]

    assert refused(0.3, pair, count=None, indices=[1, 0]) == (
        "cannot place third on GPU 1: deployments emb1, flash1 hold 0.94 of it; 0.3 more is over 0.95"
    )


def test_who_wants_a_share_of_a_card_that_is_held_whole_is_told_so() -> None:
    assert refused(0.3, [ONE]) == (
        "cannot place third: it needs 2 GPUs and 0 are free; held: GPU 0, 1: deployment one holds it whole"
    )


def test_a_container_that_shares_but_is_not_wanted_any_more_keeps_the_whole_card() -> None:
    assert set(claims_of("small", [], [container(sharer("big", 0.3))]).taken(0.3)) == {"GPU-0", "GPU-1"}

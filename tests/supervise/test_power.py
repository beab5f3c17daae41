"""The power cap: asked for where it differs, read back, asked for again, and what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchpad.supervise.power import PowerCap
from tests.supervise.cards import at, healthy, spec_on

if TYPE_CHECKING:
    from launchpad.supervise.gpus import Remark


class Card:
    """A card's limit, and a setter that may be refused, may be slow, and may not be kept."""

    def __init__(self, limit: float | None = 600.0) -> None:
        self.limit = limit
        self.refuses: str | None = None
        self.silent = self.forgets = False
        self.asked: list[tuple[int, str, float]] = []
        self.now = 0
        self._answers: list[tuple[str, str | None]] = []
        self.cap = PowerCap(spec_on(0, power_cap_w=450), self)
        self.remarks: list[Remark] = []

    def set_cap(self, uuid: str, watts: float) -> None:
        self.asked.append((self.now, uuid, watts))
        if self.silent:
            return
        if self.refuses is None and not self.forgets:
            self.limit = watts
        self._answers.append((uuid, self.refuses))

    def cap_answers(self) -> tuple[tuple[str, str | None], ...]:
        answers, self._answers = tuple(self._answers), []
        return answers

    def play(self, seconds: int) -> list[str]:
        """What was said meanwhile, with its second."""
        said = []
        for _ in range(seconds):
            for remark in self.cap.look((healthy(0, self.now, power_limit_w=self.limit),), at(self.now)):
                self.remarks.append(remark)
                said.append(f"{self.now} {remark.event} {remark.detail['outcome']}: {remark.reason}")
            self.now += 1
        return said


@pytest.fixture
def card() -> Card:
    return Card()


def test_a_limit_that_differs_is_set_read_back_and_said(card: Card) -> None:
    said = card.play(100)

    assert card.asked == [(0, "GPU-0", 450.0)]
    assert said == ["1 power-cap set: GPU 0 (RTX PRO 6000): power limit set: 450 W, was 600 W"]


@pytest.mark.parametrize("limit", [450.0, 449.2, 450.8, None])
def test_a_limit_that_is_right_or_unknown_is_left_alone(limit: float | None) -> None:
    card = Card(limit)

    assert (card.play(100), card.asked) == ([], [])


def test_a_refusal_is_said_once_with_what_to_type_and_tried_again_politely(card: Card) -> None:
    card.refuses = "Insufficient Permissions"
    said = card.play(200)

    assert said == [
        "1 power-cap refused: GPU 0 (RTX PRO 6000): the power limit of 450 W cannot be set: Insufficient Permissions"
    ]
    assert card.remarks[0].detail["hint"] == "`sudo nvidia-smi -i 0 -pl 450`, or run the supervisor as root"
    assert [second for second, _, _ in card.asked] == [0, 61, 122, 183]


def test_a_right_that_was_granted_later_is_used(card: Card) -> None:
    card.refuses = "Insufficient Permissions"
    card.play(30)
    card.refuses = None

    assert card.play(60) == ["62 power-cap set: GPU 0 (RTX PRO 6000): power limit set: 450 W, was 600 W"]


def test_a_limit_that_went_back_is_set_again_at_once(card: Card) -> None:
    card.play(30)
    card.limit = 600.0

    assert card.play(30) == [
        "31 power-cap again: GPU 0 (RTX PRO 6000): power limit set again, after a driver reload perhaps: 450 W, was 600 W"
    ]
    assert [second for second, _, _ in card.asked] == [0, 30]


def test_a_limit_that_moves_is_asked_for_at_once_also_after_a_refusal(card: Card) -> None:
    card.refuses = "Insufficient Permissions"
    card.play(10)
    card.limit = 500.0
    card.play(1)

    assert [second for second, _, _ in card.asked] == [0, 10]


def test_a_limit_that_is_not_kept_is_said(card: Card) -> None:
    card.forgets = True
    said = card.play(60)

    assert said == [
        "11 power-cap refused: GPU 0 (RTX PRO 6000): the power limit of 450 W was set and is not kept: the card enforces 600 W"
    ]
    assert [second for second, _, _ in card.asked] == [0]


def test_an_answer_that_never_comes_is_asked_for_again(card: Card) -> None:
    card.silent = True
    card.play(130)

    assert [second for second, _, _ in card.asked] == [0, 60, 120]


def test_a_person_who_sets_the_limit_ends_the_refusal(card: Card) -> None:
    card.refuses = "Insufficient Permissions"
    card.play(10)
    card.limit, card.refuses = 450.0, None

    assert len(card.play(200)) == 1
    assert [second for second, _, _ in card.asked] == [0]


def test_a_card_that_says_nothing_is_waited_for(card: Card) -> None:
    card.limit = None
    card.play(30)
    card.limit = 600.0
    card.play(5)

    assert [second for second, _, _ in card.asked] == [30]


def test_without_a_cap_nothing_is_asked() -> None:
    card = Card()
    card.cap = PowerCap(spec_on(0), card)

    assert (card.play(10), card.asked) == ([], [])


def test_cards_of_others_are_left_alone(card: Card) -> None:
    card.cap.look((healthy(5, 0, power_limit_w=600.0),), at(0))

    assert card.asked == []


class Anyhow:
    """A setter that answers what a test drew."""

    def __init__(self) -> None:
        self.answers: tuple[tuple[str, str | None], ...] = ()
        self.asked: list[Any] = []

    def set_cap(self, uuid: str, watts: float) -> None:
        self.asked.append((uuid, watts))

    def cap_answers(self) -> tuple[tuple[str, str | None], ...]:
        return self.answers


ANSWERS = st.lists(
    st.tuples(st.sampled_from(["GPU-0", "GPU-1", "GPU-7"]), st.sampled_from([None, "no", "not you"])), max_size=2
).map(tuple)
LIMITS = st.lists(st.sampled_from([None, 450.0, 600.0, 300.0]), max_size=3)


@settings(max_examples=100)
@given(st.lists(st.tuples(ANSWERS, LIMITS, st.sampled_from([-100, 0, 1, 61])), max_size=15))
def test_whatever_is_answered_only_the_cap_is_ever_asked_for(
    looks: list[tuple[tuple[tuple[str, str | None], ...], list[float | None], int]],
) -> None:
    setter = Anyhow()
    cap = PowerCap(spec_on(0, 1, power_cap_w=450), setter)
    now = 0
    for answers, limits, later in looks:
        now += later
        setter.answers = answers
        cap.look(tuple(healthy(card, now, power_limit_w=limit) for card, limit in enumerate(limits)), at(now))

    assert set(setter.asked) <= {("GPU-0", 450.0), ("GPU-1", 450.0)}

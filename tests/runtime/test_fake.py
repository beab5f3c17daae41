"""What the stand-in runtime adds for tests: failures on demand, an engine that goes down, a record of what was asked."""

from __future__ import annotations

import pytest

from launchpad.errors import ContainerError, RuntimeUnavailable
from launchpad.runtime.base import LABEL_DEPLOYMENT, ContainerSpec
from tests.fakes.runtime import FakeRuntime

SPEC = ContainerSpec(role="server", name="x", image="x:1", image_id=None, command=(), labels=((LABEL_DEPLOYMENT, "x"),))


def test_an_injected_failure_happens_once_and_does_nothing() -> None:
    fake = FakeRuntime(images=["x:1"])
    fake.fail_next("create", ContainerError("cannot create container x: because"))
    with pytest.raises(ContainerError, match="because"):
        fake.create(SPEC, {})
    assert fake.containers() == ()
    assert fake.create(SPEC, {}).name == "x"


def test_a_failure_of_a_method_that_is_none_is_the_tests_mistake() -> None:
    with pytest.raises(AttributeError, match="no method craete"):
        FakeRuntime().fail_next("craete", ContainerError("x"))


def test_an_engine_that_goes_down_breaks_streams_and_comes_back() -> None:
    fake = FakeRuntime()
    with fake.events() as events:
        fake.go_down()
        with pytest.raises(RuntimeUnavailable):
            next(events)
    fake.come_back()
    assert fake.containers() == ()


def test_what_was_asked_is_recorded_by_name() -> None:
    fake = FakeRuntime(images=["x:1"])
    container = fake.create(SPEC, {"A": "secret"})
    fake.start(container.id)
    fake.signal(container.id, "SIGTERM")
    assert fake.asked("create", "start", "signal") == [("create", "x"), ("start", "x"), ("signal", "x", "SIGTERM")]
    assert fake.secrets_of(container.id) == {"A": "secret"}


def test_a_container_that_vanishes_is_told_as_an_end() -> None:
    fake = FakeRuntime(images=["x:1"])
    container = fake.create(SPEC, {})
    fake.start(container.id)
    with fake.events() as events:
        fake.vanish(container.id)
        assert [next(events).action, next(events).action] == ["die", "destroy"]
    assert fake.inspect(container.id) is None

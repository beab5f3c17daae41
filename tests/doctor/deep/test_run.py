"""One container from creation to removal: answered, silent, hung, refused; and what is left behind, which is nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from launchpad.doctor.deep.plan import ALL_REDUCE, ImageUnderTest, container_spec
from launchpad.doctor.deep.run import Outcome, parse, run_container
from launchpad.doctor.deep.scripts import MARK
from launchpad.errors import ContainerError, RuntimeUnavailable
from launchpad.runtime.base import LABEL_DEPLOYMENT, LABEL_GPUS, LABEL_OWNER, LABEL_ROLE
from tests.doctor.deep.subjects import check, subject
from tests.fakes.clock import ManualClock
from tests.fakes.runtime import FakeRuntime, fake_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from launchpad.runtime.base import ContainerSpec

IMAGE = fake_image("img:1")
OF = subject(image=ImageUnderTest("img:1", IMAGE.id))
SPEC = container_spec(check(ALL_REDUCE, OF), OF)


class Acting(FakeRuntime):
    """Its containers say ``says`` and exit with ``code`` as soon as they start; ``code`` None stays."""

    def __init__(self, says: tuple[str, ...] = (), code: int | None = 0) -> None:
        super().__init__(images=(IMAGE,))
        self.says, self.code = says, code

    def start(self, container_id: str) -> None:
        super().start(container_id)
        for line in self.says:
            self.write_log(container_id, line)
        if self.code is not None:
            self.exit(container_id, self.code)


def run(runtime: FakeRuntime, deadline_s: float = 30.0, during: Callable[[], None] = lambda: None) -> Outcome:
    return run_container(runtime, SPEC, deadline_s, ManualClock(), during)


def line(**said: object) -> str:
    return MARK + json.dumps(said)


def test_an_answer_comes_back_whole_and_the_container_is_gone() -> None:
    runtime = Acting(("a banner", line(stage="joined"), line(done=True, gpus=[])))
    found = run(runtime)

    assert (found.how, found.answer, found.noise) == ("answered", {"done": True, "gpus": []}, ("a banner",))
    assert runtime.inspect(SPEC.name) is None


def test_a_container_that_says_nothing_is_silent_with_its_exit_code() -> None:
    found = run(Acting(("Segmentation fault",), code=139))

    assert (found.how, found.exit_code, found.noise) == ("silent", 139, ("Segmentation fault",))


def test_a_container_that_hangs_is_killed_at_the_deadline_with_what_it_said_so_far() -> None:
    runtime = Acting((line(bytes=4096, seconds=1.0, bus_bytes_per_s=1.0),), code=None)
    found = run(runtime, deadline_s=30.0)

    assert (found.how, len(found.lines), 30.0 <= found.seconds < 31.0) == ("hung", 1, True)
    assert runtime.asked("signal") == [("signal", SPEC.name, "SIGKILL")]
    assert runtime.inspect(SPEC.name) is None


def test_a_container_that_does_not_start_is_refused_and_removed() -> None:
    runtime = Acting()
    runtime.fail_next("start", ContainerError("cannot start container x: no NVIDIA Container Toolkit"))
    found = run(runtime)

    assert (found.how, found.refusal and found.refusal.message) == (
        "refused",
        "cannot start container x: no NVIDIA Container Toolkit",
    )
    assert runtime.inspect(SPEC.name) is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeUnavailable])
def test_whatever_breaks_in_the_container_is_removed(error: type[BaseException]) -> None:
    runtime = Acting(code=None)

    def breaks() -> None:
        raise error("broken")

    with pytest.raises(error):
        run(runtime, during=breaks)
    assert runtime.inspect(SPEC.name) is None


def test_a_container_that_cannot_be_removed_is_named() -> None:
    runtime = Acting((line(done=True),))
    runtime.fail_next("remove", ContainerError("cannot remove container x: did not receive an exit event"))
    found = run(runtime)

    assert found.left_behind == f"{SPEC.name}: cannot remove container x: did not receive an exit event"


def test_what_a_killed_launchpad_left_is_removed_first() -> None:
    runtime = Acting((line(done=True),))
    left = runtime.create(SPEC, {})
    found = run(runtime)

    assert (found.how, runtime.inspect(left.id)) == ("answered", None)


@pytest.mark.parametrize(
    "labels", [((LABEL_ROLE, "deep"), (LABEL_OWNER, "/another")), ((LABEL_ROLE, "server"), (LABEL_OWNER, OF.owner))]
)
def test_somebody_elses_container_of_that_name_is_left_alone(labels: tuple[tuple[str, str], ...]) -> None:
    runtime = Acting((line(done=True),))
    theirs = runtime.create(replace(SPEC, labels=labels), {})
    found = run(runtime)

    assert (found.how, runtime.inspect(theirs.id) is not None) == ("refused", True)


def test_a_container_of_an_active_check_is_no_deployments_and_may_do_nothing() -> None:
    assert LABEL_DEPLOYMENT not in dict(SPEC.labels)
    assert dict(SPEC.labels) == {LABEL_ROLE: "deep", LABEL_OWNER: OF.owner, LABEL_GPUS: "GPU-0,GPU-1"}
    assert (SPEC.cap_add, SPEC.cap_drop, SPEC.no_new_privileges) == ((), ("ALL",), True)
    assert (SPEC.network, SPEC.mounts, SPEC.ports, SPEC.secrets) == ("none", (), (), ())


def test_its_container_is_never_listed_among_ours() -> None:
    runtime = Acting()
    runtime.create(SPEC, {})

    assert runtime.containers() == ()


def test_the_script_fits_into_one_argument() -> None:
    def longest(spec: ContainerSpec) -> int:
        return max(len(word.encode()) for word in spec.command)

    assert longest(SPEC) < 128 * 1024  # MAX_ARG_STRLEN, execve(2)


def test_torn_and_strange_lines_are_no_answer() -> None:
    assert parse([f'{MARK}{{"done": tr', f"{MARK}[1]", f"{MARK}null", '{"done": true}', f"{MARK}{'[' * 9000}"]) == ()

"""Why a container ended, in words, and whether starting it again can help."""

from __future__ import annotations

import pytest

from launchpad.errors import ContainerError, ImageError, LaunchpadError
from launchpad.runtime.base import ExitStatus
from launchpad.supervise.crash import classify, describe_exit, refused
from launchpad.supervise.machine import Verdict

OOM = "torch.OutOfMemoryError: CUDA out of memory."
NCCL = "ncclSystemError: System call failed"


@pytest.mark.parametrize(
    ("exit_", "words"),
    [
        (ExitStatus(0), "exit code 0"),
        (ExitStatus(1), "exit code 1"),
        (ExitStatus(128), "exit code 128"),
        (ExitStatus(129), "killed by SIGHUP (exit code 129)"),
        (ExitStatus(131), "killed by SIGQUIT (exit code 131)"),
        (ExitStatus(134), "killed by SIGABRT (exit code 134)"),
        (ExitStatus(137), "killed by SIGKILL (exit code 137)"),
        (ExitStatus(139), "killed by SIGSEGV (exit code 139)"),
        (ExitStatus(143), "killed by SIGTERM (exit code 143)"),
        (ExitStatus(128 + 33), "killed by signal 33 (exit code 161)"),
        (ExitStatus(255), "exit code 255"),
        (ExitStatus(127, error="no such file"), "could not start: no such file"),
    ],
)
def test_an_exit_is_told_in_words(exit_: ExitStatus, words: str) -> None:
    assert describe_exit(exit_) == words


@pytest.mark.parametrize(
    ("exit_", "lines", "fatal", "id_", "reason"),
    [
        (None, [OOM], False, "container.removed", "the container was removed behind launchpad's back"),
        (ExitStatus(0), [], False, "exit.unexplained", "exit code 0"),
        (ExitStatus(1), ["Traceback (most recent call last):"], False, "exit.unexplained", "exit code 1"),
        (ExitStatus(1), [OOM], True, "gpu.out-of-memory", "exit code 1: a GPU ran out of memory"),
        (ExitStatus(0), [OOM], True, "gpu.out-of-memory", "exit code 0: a GPU ran out of memory"),
        (ExitStatus(1), [NCCL], False, "nccl.failed", "exit code 1: the GPUs cannot talk to each other over NCCL"),
        (
            ExitStatus(2),
            ["vllm: error: unrecognized arguments: --nope"],
            True,
            "engine.unknown-flag",
            "exit code 2: the engine does not know a flag or value of this profile",
        ),
        (
            ExitStatus(137, oom_killed=True),
            [OOM],
            False,
            "host.out-of-memory",
            "killed by SIGKILL (exit code 137): the kernel killed it for want of host memory",
        ),
        (ExitStatus(137), [], False, "exit.unexplained", "killed by SIGKILL (exit code 137)"),
        (
            ExitStatus(139),
            ["Fatal Python error: Bus error"],
            True,
            "host.shared-memory",
            "killed by SIGSEGV (exit code 139): the container's shared memory is too small",
        ),
    ],
)
def test_a_crash_gets_its_verdict(
    exit_: ExitStatus | None, lines: list[str], fatal: bool, id_: str, reason: str
) -> None:
    found = classify(exit_, lines)

    assert (found.fatal, found.id, found.reason) == (fatal, id_, reason)


def test_a_known_crash_says_what_to_do() -> None:
    assert classify(ExitStatus(1), [OOM]).hint == (
        "lower serving.memory_fraction, serving.context_length or serving.max_running_requests"
    )


def test_an_unknown_crash_invents_no_advice() -> None:
    assert classify(ExitStatus(1), []).hint is None


def test_a_kernel_that_kills_for_memory_gets_advice_of_its_own() -> None:
    assert classify(ExitStatus(137, oom_killed=True), []).hint == "raise container.memory_limit, or free host memory"


@pytest.mark.parametrize(
    ("error", "fatal", "id_"),
    [
        (ImageError("cannot create x: no such image"), True, "start.refused"),
        (ContainerError("cannot start x: port is already allocated"), False, "start.refused"),
        (ContainerError("cannot start x: could not select device driver"), True, "host.no-gpu-runtime"),
        (ContainerError("cannot start x: ncclSystemError"), False, "nccl.failed"),
        (LaunchpadError("cannot start x: secret HF_TOKEN has no value"), False, "start.refused"),
    ],
)
def test_a_start_that_was_refused_gets_its_verdict(error: LaunchpadError, fatal: bool, id_: str) -> None:
    assert (refused(error).fatal, refused(error).id) == (fatal, id_)


def test_a_refused_start_keeps_the_words_of_the_refusal() -> None:
    assert refused(ContainerError("cannot start x: y", hint="do z")) == Verdict(
        fatal=False, reason="cannot start x: y", hint="do z", id="start.refused"
    )

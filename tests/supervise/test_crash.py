"""Why a container ended: exits and log lines against verdicts."""

from __future__ import annotations

import pytest

from launchpad.doctor.hazards import SIGNATURES
from launchpad.errors import ContainerError, ImageError
from launchpad.runtime.base import ExitStatus
from launchpad.supervise.crash import classify, describe_exit, refused


@pytest.mark.parametrize(
    ("exit_", "words"),
    [
        (ExitStatus(0), "exit code 0"),
        (ExitStatus(1), "exit code 1"),
        (ExitStatus(137), "killed by SIGKILL (exit code 137)"),
        (ExitStatus(139), "killed by SIGSEGV (exit code 139)"),
        (ExitStatus(128 + 33), "killed by signal 33 (exit code 161)"),
        (ExitStatus(255), "exit code 255"),
        (ExitStatus(127, error="no such program"), "could not start: no such program"),
    ],
)
def test_an_exit_is_told_in_words(exit_: ExitStatus, words: str) -> None:
    assert describe_exit(exit_) == words


@pytest.mark.parametrize("code", [0, 1, 137])
def test_an_exit_that_nothing_explains_is_tried_again(code: int) -> None:
    verdict = classify(ExitStatus(code), ["all is well"])
    assert (verdict.fatal, verdict.id) == (False, "exit.unexplained")


def test_a_kill_that_nothing_explains_may_have_been_the_kernels() -> None:
    assert "dmesg" in (classify(ExitStatus(137), ()).hint or "")
    assert classify(ExitStatus(139), ()).hint is None


def test_a_container_that_vanished_was_removed_by_somebody() -> None:
    assert classify(None, ()).id == "container.removed"


def test_want_of_host_memory_wins_over_whatever_the_log_says() -> None:
    verdict = classify(ExitStatus(137, oom_killed=True), ["CUDA out of memory"])
    assert (verdict.fatal, verdict.id) == (False, "host.out-of-memory")


def test_a_known_line_explains_an_exit_and_carries_its_fix() -> None:
    verdict = classify(ExitStatus(1), ["a", "torch.OutOfMemoryError: CUDA out of memory", "b"])
    assert (verdict.fatal, verdict.id, verdict.reason) == (
        True,
        "gpu.out-of-memory",
        "exit code 1: a GPU ran out of memory",
    )
    assert verdict.hint


@pytest.mark.parametrize(
    ("line", "id_", "fix"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory", "gpu.out-of-memory", "lower serving.memory_fraction"),
        ("Capture cuda graph failed: CUDA out of memory", "gpu.graph-capture-memory", "cuda-graph-max-bs-decode"),
        ("ValueError: No available memory for the cache blocks.", "gpu.weights-leave-no-kv", "memory_fraction"),
        ("Assertion error (csrc/apis/gemm.hpp:122): Unsupported architecture", "deepgemm.architecture", "SM120"),
        ("CUDA error: no kernel image is available for execution on the device", "image.no-kernel", "image"),
        ("sglang serve: error: unrecognized arguments: --nope", "engine.unknown-flag", "engine_args"),
        ("Check failed: num_tokens > 64 (5 vs. 64)", "flashinfer.sm120-shape", ""),
        (
            "RuntimeError: Assertion error (layout.hpp:60): Unknown SF transformation",
            "deepgemm.sf-transformation",
            "SGLang",
        ),
        ("[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(", "nccl.hang", "NCCL_P2P_DISABLE"),
        ("OSError: [Errno 98] Address already in use", "host.port-in-use", "free the port"),
        ("FileNotFoundError: model-00001-of-00046.safetensors", "model.files-missing", "fetch what is missing"),
        ("OSError: [Errno 28] No space left on device", "host.disk-full", "df -h"),
        ("Failed to initialize NVML: Driver/library version mismatch", "driver.mismatch", "reboot"),
        ("RuntimeError: CUDA error: GPU is lost", "gpu.lost", "reset the GPU or reboot"),
    ],
)
def test_what_no_restart_mends_is_fatal_and_names_the_fix(line: str, id_: str, fix: str) -> None:
    verdict = classify(ExitStatus(1), ["loading", line, "Traceback (most recent call last):"])
    assert (verdict.id, verdict.fatal) == (id_, True)
    assert verdict.hint
    assert fix in verdict.hint


def test_a_nim_without_a_key_ends_with_code_0_and_is_not_tried_again() -> None:
    lines = ["downloading the model's manifest", "ERROR: model manifest download failed: Authentication Error"]
    verdict = classify(ExitStatus(0), lines)
    assert (verdict.fatal, verdict.id) == (True, "nim.no-key")
    assert verdict.reason.startswith("exit code 0: NGC did not let")
    assert "secrets.NGC_API_KEY" in (verdict.hint or "")


def test_the_first_row_of_the_table_wins_wherever_its_line_stands() -> None:
    lines = ["CUDA out of memory", "Unknown SF transformation"]
    assert classify(ExitStatus(1), lines).id == SIGNATURES[0].id


def test_a_refused_start_is_fatal_where_the_image_is_at_fault() -> None:
    gone = refused(ImageError("cannot create: no such image", hint="docker pull"))
    assert (gone.fatal, gone.hint, gone.id) == (True, "docker pull", "start.refused")


def test_a_refused_start_is_fatal_where_a_known_hazard_is_at_fault() -> None:
    verdict = refused(ContainerError('cannot start: could not select device driver "" with capabilities: [[gpu]]'))
    assert (verdict.fatal, verdict.id) == (True, "host.no-gpu-runtime")


def test_a_refused_start_that_may_come_right_is_tried_again() -> None:
    assert not refused(ContainerError("cannot start: port 8000 on 127.0.0.1 is already in use")).fatal


def test_want_of_memory_is_told_with_the_stage_it_came_in() -> None:
    verdict = classify(ExitStatus(1), ["torch.OutOfMemoryError: CUDA out of memory"], "graphs")
    assert verdict.reason.endswith("(in stage graphs)")

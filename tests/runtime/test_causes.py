"""What the engine says becomes a cause and a hint: data against text."""

from __future__ import annotations

import pytest

from launchpad.runtime.causes import explain, redact, registry

SAID = [
    (
        'could not select device driver "nvidia" with capabilities: [[gpu]]',
        "",
        "this Docker Engine cannot hand out NVIDIA GPUs (no NVIDIA Container Toolkit)",
        (
            "sudo apt-get install -y nvidia-container-toolkit && "
            "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
        ),
    ),
    (
        (
            "driver failed programming external connectivity on endpoint x (ab12): Bind for 127.0.0.1:8000 failed: "
            "port is already allocated"
        ),
        "",
        "port 8000 on 127.0.0.1 is already in use",
        "sudo ss -ltnp 'sport = :8000'",
    ),
    (
        (
            "driver failed programming external connectivity on endpoint x (ab12): Error starting userland proxy: "
            "listen tcp4 0.0.0.0:8000: bind: address already in use"
        ),
        "",
        "port 8000 on 0.0.0.0 is already in use",
        "sudo ss -ltnp 'sport = :8000'",
    ),
    (
        (
            "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: "
            "unable to start container process: error during container init: error running hook #0: exit status 1, stdout: , "
            "stderr: Auto-detected mode as 'legacy'\nnvidia-container-cli: initialization error: nvml error: driver not "
            "loaded: unknown"
        ),
        "",
        "the NVIDIA Container Toolkit failed: nvidia-container-cli: initialization error: nvml error: driver not loaded",
        "nvidia-smi",
    ),
    (
        (
            "OCI runtime create failed: error running hook #0: nvidia-container-cli: device error: GPU-12: unknown device: "
            "unknown"
        ),
        "",
        "the NVIDIA Container Toolkit failed: nvidia-container-cli: device error: GPU-12: unknown device",
        "nvidia-smi -L",
    ),
    (
        'invalid mount config for type "bind": bind source path does not exist: /models/my model',
        "",
        "the host path /models/my model does not exist",
        "ls -ld '/models/my model'",
    ),
    (
        (
            'Conflict. The container name "/v4" is already in use by container "0123456789abcdef". You have to remove (or '
            "rename) that container to be able to reuse that name."
        ),
        "",
        "another container (0123456789ab) has that name",
        "docker rm -f v4",
    ),
    (
        "No such image: lmsysorg/sglang:v0",
        "",
        "the image lmsysorg/sglang:v0 is not on this Docker Engine",
        "docker pull lmsysorg/sglang:v0",
    ),
    (
        "no such image: audit-cuda@abc: No such image: audit-cuda@abc:latest",
        "",
        "the image audit-cuda@abc is not on this Docker Engine",
        "docker pull audit-cuda@abc",
    ),
    (
        "Get https://nvcr.io/v2/nim/x/manifests/1: unauthorized: authentication required",
        "nvcr.io/nim/x:1",
        (
            "the registry refuses access, or the image does not exist there (Get https://nvcr.io/v2/nim/x/manifests/1: "
            "unauthorized: authentication required)"
        ),
        "docker login nvcr.io",
    ),
    (
        "pull access denied for nobody/none, repository does not exist or may require 'docker login'",
        "nobody/none:1",
        (
            "the registry refuses access, or the image does not exist there (pull access denied for nobody/none, repository "
            "does not exist or may require 'docker login')"
        ),
        "docker login",
    ),
    (
        "manifest for vllm/vllm-openai:v99 not found: manifest unknown: manifest unknown",
        "vllm/vllm-openai:v99",
        (
            "the registry has no such tag or digest (manifest for vllm/vllm-openai:v99 not found: manifest unknown: manifest "
            "unknown)"
        ),
        "docker manifest inspect vllm/vllm-openai:v99",
    ),
    (
        "Get https://registry-1.docker.io/v2/: dial tcp: lookup registry-1.docker.io: no such host",
        "vllm/vllm-openai:v1",
        (
            "the registry cannot be reached from the Docker Engine (Get https://registry-1.docker.io/v2/: dial tcp: lookup "
            "registry-1.docker.io: no such host)"
        ),
        "docker pull vllm/vllm-openai:v1",
    ),
    (
        'OCI runtime create failed: exec: "sglang": executable file not found in $PATH: unknown',
        "",
        "the image has no program sglang",
        None,
    ),
    ("something  nobody\nhas seen", "", "something nobody has seen", None),
]


@pytest.mark.parametrize(("said", "reference", "cause", "hint"), SAID, ids=[case[2][:40] for case in SAID])
def test_what_the_engine_says_is_explained(said: str, reference: str, cause: str, hint: str | None) -> None:
    assert explain(said, reference=reference) == (cause, hint)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("vllm/vllm-openai:v1", ""),
        ("nvcr.io/nim/x:1", "nvcr.io"),
        ("localhost/x", "localhost"),
        ("10.0.0.1:5000/x@sha256:ab", "10.0.0.1:5000"),
        ("busybox", ""),
    ],
)
def test_the_registry_of_a_reference(reference: str, expected: str) -> None:
    assert registry(reference) == expected


def test_a_secret_inside_another_hides_both() -> None:
    assert redact("hf_abcd and hf_abcdef", ["hf_abcd", "hf_abcdef"]) == "*** and ***"


def test_what_is_too_short_to_be_a_secret_stays() -> None:
    assert redact("a port is a port", ["a", "por"]) == "a port is a port"

"""What doctor tells of the real vLLM image that `launchpad up demo-vllm-cpu` has built; the image's own Python is the truth."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import docker.errors
import pytest

from launchpad.doctor.image import inspect_image
from launchpad.runtime.docker import connect

if TYPE_CHECKING:
    from launchpad.doctor.case import ImageFacts

pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.slow]

NAME = "demo-vllm-cpu"
IMAGE = "launchpad/vllm-cpu-demo:0.32.0"
ASK = "import json, torch, transformers, vllm; print(json.dumps({m.__name__: m.__version__ for m in (torch, transformers, vllm)}))"


@pytest.fixture(scope="module")
def told() -> ImageFacts:
    runtime = connect(os.environ)
    try:
        image = runtime.image(IMAGE)
        if image is None:
            pytest.fail(
                f"{IMAGE} is not here; `launchpad up {NAME}` builds it, and tests/e2e_vllm/test_chat.py runs that"
            )
        with runtime.files(image.id) as files:
            return inspect_image(image, files)
    finally:
        runtime.close()


@pytest.fixture(scope="module")
def truth() -> dict[str, str]:
    """What the image's own Python says of its packages."""
    with closing(docker.from_env()) as client:
        said = client.containers.run(
            IMAGE, entrypoint=["python", "-c", ASK], command=[], remove=True, network_mode="none"
        )
    versions: dict[str, str] = json.loads(said.decode().splitlines()[-1])
    return versions


def test_the_versions_are_those_that_the_images_python_imports(told: ImageFacts, truth: dict[str, str]) -> None:
    seen = {name: told.packages[name].partition("+")[0] for name in truth}
    assert seen == {name: version.partition("+")[0] for name, version in truth.items()}


def test_it_is_a_vllm_without_cuda_and_without_deep_gemm(told: ImageFacts) -> None:
    assert (told.engine, told.cuda_version) == ("vllm", None)
    assert [found.kind for found in told.deep_gemm or ()] == ["absent"]


def test_doctor_blocks_nothing_of_what_comes_up(told: ImageFacts, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("launchpad")), "doctor", NAME, "--json"]
    environ = {**os.environ, "LAUNCHPAD_STATE_DIR": str(tmp_path)}
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)
    answer: dict[str, Any] = json.loads(ran.stdout)
    assert (ran.returncode, answer["blocked"]) == (0, False), ran.stdout + ran.stderr

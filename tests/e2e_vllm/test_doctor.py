"""What doctor tells of the real vLLM image that `launchpad up demo-vllm-cpu` has built; the image's own Python is the truth."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from tests.e2e_vllm.models import PROFILE

from launchpad.doctor.image import inspect_image
from launchpad.runtime.docker import connect

if TYPE_CHECKING:
    import docker
    from tests.e2e.harness import Rig

    from launchpad.doctor.case import ImageFacts

pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.slow]

ASK = "import json, torch, transformers, vllm; print(json.dumps({m.__name__: m.__version__ for m in (torch, transformers, vllm)}))"


@pytest.fixture(scope="module")
def told(image: str) -> ImageFacts:
    runtime = connect(os.environ)
    try:
        known = runtime.image(image)
        assert known is not None
        with runtime.files(known.id) as files:
            return inspect_image(known, files)
    finally:
        runtime.close()


@pytest.fixture(scope="module")
def truth(client: docker.DockerClient, image: str) -> dict[str, str]:
    """What the image's own Python says of its packages."""
    said = client.containers.run(image, entrypoint=["python", "-c", ASK], command=[], remove=True, network_mode="none")
    versions: dict[str, str] = json.loads(said.decode().splitlines()[-1])
    return versions


def test_the_versions_are_those_that_the_images_python_imports(told: ImageFacts, truth: dict[str, str]) -> None:
    seen = {name: told.packages[name].partition("+")[0] for name in truth}
    assert seen == {name: version.partition("+")[0] for name, version in truth.items()}


def test_it_is_a_vllm_without_cuda_and_without_deep_gemm(told: ImageFacts) -> None:
    assert (told.engine, told.cuda_version) == ("vllm", None)
    assert [found.kind for found in told.deep_gemm or ()] == ["absent"]


def test_doctor_blocks_nothing_of_what_comes_up(told: ImageFacts, rig: Rig) -> None:
    ran = rig.run("doctor", PROFILE, "--json", timeout=120).ends(0)
    assert ran.json["blocked"] is False

"""Releases as tags of official images tell them: the one place where they are read."""

from __future__ import annotations

import pytest

from launchpad.engines.tags import image_parts, release_of, release_of_tag


@pytest.mark.parametrize(
    ("tag", "release"),
    [
        ("v0.27.0", "0.27.0"),
        ("v0.27.0-cu129", "0.27.0"),
        ("v0.27.0-cu129-x86_64", "0.27.0"),
        ("v0.5.12-cu130-runtime", "0.5.12"),
        ("v0.5.6.post2-cu129-amd64-runtime", "0.5.6.post2"),
        ("v0.5.2rc2-cu126", "0.5.2rc2"),
        ("1.3.0rc15.post1", "1.3.0rc15.post1"),
        ("1.3.0rc24", "1.3.0rc24"),
        ("latest", None),
        ("latest-cu130-runtime", None),
        ("nightly-dev-20261101-abcdef0", None),
        ("dev-cu13", None),
        ("v0.27.0+cu129", None),
        ("v0.27.0cu129", None),
        ("", None),
        (None, None),
    ],
)
def test_a_release_is_read_off_a_tag_whatever_it_was_built_for(tag: str | None, release: str | None) -> None:
    assert release_of_tag(tag) == release


@pytest.mark.parametrize("hub", ["", "docker.io/", "index.docker.io/"])
@pytest.mark.parametrize("digest", ["", "@sha256:" + "0" * 64])
def test_docker_hub_is_one_registry_under_all_its_names(hub: str, digest: str) -> None:
    reference = f"{hub}vllm/vllm-openai:v0.27.0-cu129-x86_64{digest}"

    assert image_parts(reference) == ("vllm/vllm-openai", "v0.27.0-cu129-x86_64")
    assert release_of("vllm", reference) == "0.27.0"


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("registry:5000/vllm", ("registry:5000/vllm", None)),
        ("registry:5000/vllm:v1", ("registry:5000/vllm", "v1")),
        ("vllm/vllm-openai@sha256:" + "0" * 64, ("vllm/vllm-openai", None)),
        ("docker.io", ("docker.io", None)),
    ],
)
def test_a_port_and_a_digest_are_no_tags(reference: str, parts: tuple[str, str | None]) -> None:
    assert image_parts(reference) == parts


@pytest.mark.parametrize(
    ("engine", "reference"),
    [
        ("sglang", "vllm/vllm-openai:v0.27.0"),
        ("vllm", "registry.example/vllm/vllm-openai:v0.27.0"),
        ("vllm", "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.6.1"),
    ],
)
def test_an_image_of_another_tells_nothing_of_an_engine(engine: str, reference: str) -> None:
    assert release_of(engine, reference) is None

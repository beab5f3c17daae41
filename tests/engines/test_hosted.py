"""A hosted endpoint's profile made concrete: where it is asked, how often, and what docs/hosted.md says of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launchpad.deploy.spec import Spec, resolve
from launchpad.engines.hosted import base_of
from launchpad.profiles.schema import Profile
from tests.deploy.specs import NO_GPU, SHIPPED, shipped

DOCS = (Path(__file__).parents[2] / "docs" / "hosted.md").read_text()
HOSTED = [name for name in SHIPPED.names() if SHIPPED.load(name).profile.engine == "hosted"]


def spec_at(url: str, **tables: Any) -> Spec:
    table = {
        "format": 1,
        "summary": "somebody else's API",
        "engine": "hosted",
        "hosted": {"base_url": url},
        "model": {"served_name": "small"},
        **tables,
    }
    return resolve("elsewhere", Profile.model_validate(table), NO_GPU, taken={})


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://api.deepseek.com", "https://api.deepseek.com"),
        ("https://api.deepseek.com/v1", "https://api.deepseek.com"),
        ("https://api.deepseek.com/v1/", "https://api.deepseek.com"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api"),
        ("https://api.example.com/v1beta", "https://api.example.com/v1beta"),
        ("http://v1", "http://v1"),
    ],
)
def test_the_last_v1_is_the_api_s_own(url: str, base: str) -> None:
    assert base_of(url) == base


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://api.deepseek.com/v1", "api.deepseek.com", 443),
        ("http://127.0.0.1/v1", "127.0.0.1", 80),
        ("http://[2001:db8::1]:8443/v1", "2001:db8::1", 8443),
    ],
)
def test_its_address_is_that_of_its_url(url: str, host: str, port: int) -> None:
    made = spec_at(url)

    assert (made.host, made.port, made.endpoint) == (host, port, url.removesuffix("/v1"))


def test_it_has_no_container_no_image_no_gpu_and_no_cache() -> None:
    made = spec_at("https://api.deepseek.com")

    assert (made.containers, made.image, made.gpus, made.cache, made.model_path) == ((), None, (), None, None)


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"probes": {"liveness": {"idle": "5m"}}}, True),
        ({"summary": "in other words"}, True),
        ({"model": {"served_name": "other"}}, False),
        ({"hosted": {"base_url": "https://api.example.com"}}, False),
        ({"hosted": {"base_url": "https://api.deepseek.com", "key": {"from_env": "A"}}}, False),
    ],
)
def test_only_what_makes_it_another_endpoint_changes_its_hash(changed: dict[str, Any], same: bool) -> None:
    first = spec_at("https://api.deepseek.com")

    assert (spec_at("https://api.deepseek.com", **changed).hash == first.hash) is same


@pytest.mark.parametrize("name", HOSTED)
def test_the_documented_cost_is_what_is_asked(name: str) -> None:
    made, day = shipped(name), 24 * 3600
    looks, completions = day / made.health.live_interval_s, day / made.health.idle_interval_s

    assert f"| READY | the list of models | every 60 s (`probes.liveness.interval`) | {looks:.0f}, " in DOCS
    assert f"every 30 min (`probes.liveness.idle`) | {completions:.0f}, " in DOCS
    assert f"at most `probes.completion.max_tokens` ({made.completion.max_tokens})" in DOCS
    assert (made.health.start_interval_s, made.health.unready_interval_s) == (5.0, 60.0)


@pytest.mark.parametrize("name", HOSTED)
def test_a_shipped_one_reads_its_key_from_the_environment_and_says_how_the_model_thinks(name: str) -> None:
    made = shipped(name)

    assert made.hosted is not None
    assert made.hosted.key is not None
    assert (made.hosted.key.required, made.hosted.key.from_env is not None) == (True, True)
    assert made.completion.extra
    assert made.endpoint.startswith("https://")

"""Bad profiles of hosted endpoints as data: what is written, and the one line that is said about it; never a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launchpad.errors import ProfileError
from launchpad.profiles.catalog import Catalog

if TYPE_CHECKING:
    from pathlib import Path

SOUND = """\
format = 1
summary = "somebody else's API"
engine = "hosted"
[hosted]
base_url = "https://api.example.com/v1"
[hosted.key]
from_env = "A_KEY"
[model]
served_name = "small"
"""
URL = "https://api.example.com/v1"
FORM = 'write where its API begins, without a key, such as "https://api.deepseek.com/v1"'
HERE = "says how a server runs here; engine hosted runs none"

SWAPPED = [
    (
        "no table",
        f'[hosted]\nbase_url = "{URL}"\n[hosted.key]\nfrom_env = "A_KEY"\n',
        "",
        '1: hosted.base_url: is missing; engine hosted needs it, such as "https://api.deepseek.com/v1"',
    ),
    (
        "no URL",
        f'base_url = "{URL}"\n',
        "",
        "4: hosted.base_url: is missing; add base_url: Where its API begins, with or without the last /v1",
    ),
    ("no scheme", URL, "api.example.com/v1", f'5: hosted.base_url: has "api.example.com/v1"; {FORM}'),
    ("another scheme", URL, "ftp://a.example", f'5: hosted.base_url: has "ftp://a.example"; {FORM}'),
    ("no host", URL, "https://", f'5: hosted.base_url: has "https://"; {FORM}'),
    ("a host of dots", URL, "https://.../v1", "5: hosted.base_url: is no URL: it names no host"),
    (
        "a port that there is not",
        URL,
        f"{URL[:-3]}:99999/v1",
        "5: hosted.base_url: is no URL: Port out of range 0-65535",
    ),
    ("user and password", URL, "https://u:hunter2@a.example/v1", f"5: hosted.base_url: has something else; {FORM}"),
    ("a query", URL, f"{URL}?key=hunter2", f"5: hosted.base_url: has something else; {FORM}"),
    ("a fragment", URL, f"{URL}#hunter2", f"5: hosted.base_url: has something else; {FORM}"),
    (
        "the key itself",
        '[hosted.key]\nfrom_env = "A_KEY"',
        'key = "hunter2"',
        "6: hosted.key: must be a table; has something else",
    ),
    (
        "the key for its name",
        '"A_KEY"',
        '"hunter2-hunter2"',
        "7: hosted.key.from_env: has something else; an environment name is letters, digits and _, not starting with a digit",
    ),
    (
        "two places of the key",
        '"A_KEY"\n',
        '"A_KEY"\nfrom_file = "/etc/key"\n',
        "6: hosted.key: needs exactly one of from_env and from_file",
    ),
    (
        "a key by another word",
        "[hosted.key]\nfrom_env",
        "api_key",
        "6: hosted.api_key: unknown key; known here: base_url, key",
    ),
    (
        "a fallback of its own",
        "[hosted]",
        'fallback = "b"\n[hosted]',
        "4: fallback: is for a deployment that runs here; a hosted one has nothing to fall back from",
    ),
    (
        "weights",
        '"small"\n',
        '"small"\npath = "/m"\n',
        "10: model.path: says where weights are; engine hosted loads none",
    ),
]
ADDED = [
    ("an image", '[image]\nreference = "a:1"\n', f"10: image: {HERE}"),
    ("a port here", "[publish]\nport = 8000\n", f"10: publish: {HERE}"),
    ("GPUs", "[gpus]\ncount = 1\n", f"10: gpus: {HERE}"),
    ("an environment", '[env]\nA = "1"\n', f"10: env: {HERE}"),
    ("a container", "[container]\ninit = true\n", f"10: container: {HERE}"),
    (
        "a context length",
        "[serving]\ncontext_length = 4096\n",
        "11: serving.context_length: is the server's own matter; engine hosted only asks",
    ),
]
BAD = [(name, SOUND.replace(old, new), says) for name, old, new, says in SWAPPED]
BAD += [(name, SOUND + more, says) for name, more, says in ADDED]


@pytest.mark.parametrize(("text", "says"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_hosted_profile_is_told_in_one_line_that_repeats_no_key(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)

    with pytest.raises(ProfileError) as caught:
        Catalog((tmp_path,)).load("bad")

    assert caught.value.problems == (f"{path}:{says}",)
    assert "hunter2" not in f"{caught.value}{caught.value.hint}{caught.value.problems}"


def test_hosted_beside_another_engine_is_refused(tmp_path: Path) -> None:
    image = '[image]\nreference = "a:1"\n[publish]\nport = 8000\n'
    path = tmp_path / "bad.toml"
    path.write_text(SOUND.replace('"hosted"', '"sglang"').replace('"small"', '"small"\npath = "/m"') + image)

    assert Catalog((tmp_path,)).check([path]) == [f"{path}:4: hosted: goes with engine hosted only; engine is sglang"]


@pytest.mark.parametrize(
    "url",
    [
        "https://api.deepseek.com",
        "https://api.deepseek.com/",
        "https://openrouter.ai/api/v1",
        "http://127.0.0.1:8000/v1",
        "http://[2001:db8::1]:8443/v1",
    ],
)
def test_a_sound_url_is_taken(url: str, tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text(SOUND.replace(URL, url))
    hosted = Catalog((tmp_path,)).load("good").profile.hosted

    assert hosted is not None
    assert hosted.base_url == url

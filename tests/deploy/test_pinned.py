"""What a profile may say to a template: values that are none, pins that pin nothing, and where they stand. Data against text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launchpad.deploy.pinned import (
    CAPABILITIES,
    NOWHERE,
    Places,
    places_of,
    refuse_floating,
    refuse_unfit,
    refuse_unpinned_add,
)
from launchpad.errors import ImageError
from launchpad.profiles.catalog import Catalog, shipped_profiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
URL = "https://forge.example/x.git"
DIGEST = "sha256:" + "0" * 64


def refusal(args: Mapping[str, str | int], places: Places = NOWHERE) -> tuple[str, str]:
    """The cause and the hint with which ``args`` are refused."""
    with pytest.raises(ImageError) as caught:
        refuse_unfit("demo", args, places)
    assert caught.value.hint is not None
    return caught.value.message.removeprefix("cannot build from template demo: "), caught.value.hint


# -- values that are none ------------------------------------------------------------------------------------------------

NONSENSE: list[tuple[str, str | int, str]] = [
    ("tag", "x'; touch /pwn; echo '", "that is not the name of a git tag"),
    ("tag", "-d", "that is not the name of a git tag"),
    ("tag", "a..b", "that is not the name of a git tag"),
    ("repository", "--upload-pack=touch /pwn", "that is not a URL that git can fetch from"),
    ("repository", "ext::sh -c 'touch /pwn'", "that is not a URL that git can fetch from"),
    ("repository", "https://-x/y", "that is not a URL that git can fetch from"),
    ("deepgemm_repository", "", "that is not a URL that git can fetch from"),
    ("version", "1.0\nRUN touch /pwn", "it holds a control character, such as the end of a line"),
    ("version", "1.0 beta", "that is not a version"),
    ("anything", "a\nb", "it holds a control character, such as the end of a line"),
    ("arch_list", "13.7", "13.7 is no compute capability that PyTorch compiles for"),
    ("arch_list", "12.0;sm_90", "sm_90 is no compute capability that PyTorch compiles for"),
    ("arch_list", "12.0x", "12.0x is no compute capability that PyTorch compiles for"),
    ("arch_list", 12, "12 is no compute capability that PyTorch compiles for"),
    ("arch_list", "", "it names no architecture, and nothing would be compiled for any card"),
    ("arch_list", " ; ", "it names no architecture, and nothing would be compiled for any card"),
    ("source_date_epoch", "yesterday", "that is not a number of seconds since 1970"),
    ("source_date_epoch", -1, "that is not a number of seconds since 1970"),
    ("nvcc_threads", "many", "that is not a number of threads"),
    ("nvcc_threads", 0, "that is not a number of threads"),
    ("base_digest", "abc", "that is not the digest of an image"),
    ("base_digest", "sha256:abc", "that is not the digest of an image"),
    ("base_image", "cuda:13 AS x", "that is not an image reference"),
    ("torch", "newest", "that is not a release number"),
    ("cuda", "", "that is not a release number"),
    ("torch_backend", "cpu; touch /pwn", "that is not the name of a PyTorch backend"),
    ("model_seed", "$(id)", "that is not a whole number"),
]


@pytest.mark.parametrize(("name", "value", "says"), NONSENSE)
def test_a_value_that_is_none_of_its_kind_is_refused(name: str, value: str | int, says: str) -> None:
    assert refusal({name: value, "commit": COMMIT})[0] == f"{name} is {str(value)!r}: {says}"


SOUND: list[tuple[str, str | int]] = [
    ("repository", "https://github.com/jasl/vllm.git"),
    ("repository", "git://127.0.0.1:9418/vllm/.git"),
    ("repository", "ssh://git@forge.example:2222/~me/x.git"),
    ("repository", "git@github.com:jasl/vllm.git"),
    ("repository", "file:///srv/mirror/vllm.git"),
    ("tag", "sm120-pr-41834-stable-preview-20260717"),
    ("tag", "release/v1.2+cu130"),
    ("tag", ""),
    ("version", "20260717+gf63bfd3d"),
    ("version", "0.33.0rc1.dev5+cu130"),
    ("arch_list", "12.0"),
    ("arch_list", "12.0a"),
    ("arch_list", "8.0;9.0a;10.0f;12.0+PTX"),
    ("arch_list", "9.0a 12.0f"),
    ("source_date_epoch", 1784246400),
    ("source_date_epoch", "0"),
    ("nvcc_threads", 2),
    ("base_digest", DIGEST),
    ("base_digest", ""),
    ("base_image", "nvidia/cuda:13.0.3-devel-ubuntu24.04"),
    ("base_image", f"registry.example:5000/team/cuda:13@{DIGEST}"),
    ("torch", "2.11.0"),
    ("flashinfer", "0.6.14.post1"),
    ("torch_backend", "cu130"),
    ("greeting", 'it\'s "all" $fine; really'),
]


@pytest.mark.parametrize(("name", "value"), SOUND)
def test_a_value_of_its_kind_is_taken(name: str, value: str | int) -> None:
    refuse_unfit("demo", {name: value, "commit": COMMIT})


@pytest.mark.parametrize("capability", sorted(CAPABILITIES))
def test_every_architecture_that_pytorch_knows_is_taken(capability: str) -> None:
    refuse_unfit("demo", {"arch_list": capability})


def test_every_shipped_profile_that_builds_says_what_can_be_built() -> None:
    catalog = Catalog((shipped_profiles(),))
    built = [
        wanted
        for profile in (catalog.load(name).profile for name in catalog.names())
        if profile.image is not None and (wanted := profile.image.build)
    ]
    assert built
    for wanted in built:
        refuse_unfit(wanted.template, wanted.args)


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hush@forge.example/x y.git",
        "https://hush@forge.example/x.git",
        "ssh://git:hush@forge.example/x.git",
        "SSH://git:hush@forge.example:2222/x.git",
        "git://me:hush@forge.example/x.git",
        "git+ssh://:hush@forge.example/x.git",
        "git:hush@forge.example:x.git",
    ],
)
def test_a_repository_with_a_password_is_refused_without_repeating_it(url: str) -> None:
    said = refusal({"repository": url})
    assert ("carries a user or password" in said[0], "hush" in " ".join(said)) == (True, False)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("index_url", "https://__token__:hush@forge.example/simple"),
        ("index_url", "https://forge.example/simple https://hush@forge.example/simple"),
        ("wheel_url", "https://me:hush@forge.example/x.whl"),
        ("anything", "see ftp://me:hush@forge.example/"),
        ("source", "git+https://hush@forge.example/x.git@" + COMMIT),
        ("wheel_url", "https://forge.example/x.whl?access_token=hush"),
        ("wheel_url", "https://forge.example/x.whl?x=1&X-Amz-Signature=hush"),
        ("repository", "https://forge.example/x.git?private_token=hush"),
        ("repo", "https://me:hush@forge.example/x.git"),
    ],
)
def test_a_url_with_a_secret_is_refused_in_every_argument_without_repeating_it(name: str, url: str) -> None:
    said = refusal({name: url, "commit": COMMIT})
    assert ("carries a user or password" in said[0], "hush" in " ".join(said)) == (True, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wheel_url", "https://forge.example/x.whl?x=1#sha256=00"),
        ("mail", "me@forge.example"),
        ("base_image", f"cuda:13@{DIGEST}"),
        ("index_url", "https://forge.example/simple"),
        ("index_url", "https://forge.example:8443/simple/a@b/"),
        ("source", f"git+https://forge.example/x.git@{COMMIT}#egg=x"),
    ],
)
def test_a_value_without_a_secret_is_taken(name: str, value: str) -> None:
    refuse_unfit("demo", {name: value})


# -- pins that pin nothing -----------------------------------------------------------------------------------------------


def test_a_whole_hash_in_capitals_is_to_be_written_in_lower_case() -> None:
    assert refusal({"commit": COMMIT.upper(), "repository": URL}) == (
        f"commit is '{COMMIT.upper()}': a whole hash in capitals",
        f'write it in lower case: commit = "{COMMIT}"',
    )


def test_part_of_a_hash_is_to_be_pasted_whole_and_the_known_tag_tells_it() -> None:
    cause, hint = refusal({"commit": "2effd421b8e5", "tag": "v1", "repository": URL})
    assert cause == "commit is '2effd421b8e5': part of a hash, which may mean something else tomorrow"
    assert hint.endswith(f": git ls-remote {URL} 'refs/tags/v1*'")


def test_part_of_a_hash_without_a_tag_is_looked_for_among_the_hashes_and_not_among_the_names() -> None:
    _, hint = refusal({"commit": "2effd421b8e5", "repository": URL})
    assert hint == (
        "paste all 40 digits; where a branch or tag is at that commit, this tells them: "
        f"git ls-remote {URL} | grep -i ^2effd421b8e5"
    )


def test_a_branch_is_asked_for_its_commit_by_its_name() -> None:
    cause, hint = refusal({"deepgemm_commit": "main", "deepgemm_repository": URL})
    assert cause == "deepgemm_commit is 'main': a branch or a tag, which may be something else tomorrow"
    assert hint.endswith(f": git ls-remote {URL} 'main*'")


def test_too_many_digits_are_counted() -> None:
    assert refusal({"commit": COMMIT + "8"})[0] == f"commit is '{COMMIT}8': 41 digits, and a commit has 40"


UNPINNED: dict[str, tuple[dict[str, str], str, str]] = {
    "a repository alone": ({"repository": URL}, f"repository is '{URL}' and commit is missing", f"{URL} HEAD"),
    "a repository of its own": (
        {"repository": URL, "commit": COMMIT, "gemm_repository": URL},
        f"gemm_repository is '{URL}' and gemm_commit is missing",
        f"{URL} HEAD",
    ),
    "a repository and a tag": (
        {"repository": URL, "tag": "v1"},
        "tag is 'v1' and commit is missing",
        f"{URL} 'refs/tags/v1*'",
    ),
    "a repository by another name": ({"repo": URL}, f"repo is '{URL}' and commit is missing", f"{URL} HEAD"),
    "a branch": ({"repository": URL, "branch": "main"}, "branch is 'main': a branch or a tag", f"{URL} 'main*'"),
    "a ref": ({"repo": URL, "ref": "main"}, "ref is 'main': a branch or a tag", f"{URL} 'main*'"),
    "a rev": ({"gemm_rev": "v1"}, "gemm_rev is 'v1': a branch or a tag", "URL 'v1*'"),
    "a branch beside a commit": (
        {"repository": URL, "commit": COMMIT, "branch": "main"},
        "branch is 'main': a branch or a tag",
        f"{URL} 'main*'",
    ),
    "what pip fetches by git": (
        {"source": "git+https://forge.example/x.git"},
        "source is 'git+https://forge.example/x.git': it names no commit",
        f"{URL} HEAD",
    ),
    "what pip fetches from a branch": (
        {"source": "git+https://forge.example/x.git@main#egg=x"},
        "source is 'git+https://forge.example/x.git@main#egg=x': it names no commit",
        f"{URL} HEAD",
    ),
}


@pytest.mark.parametrize("case", UNPINNED)
def test_a_source_without_a_commit_is_refused_with_what_tells_it(case: str) -> None:
    args, cause, hint = UNPINNED[case]
    said = refusal(args)
    assert (said[0].startswith(cause), said[1].rpartition("git ls-remote ")[2]) == (True, hint)


@pytest.mark.parametrize("name", ["commit", "ref", "rev", "revision"])
def test_a_whole_hash_pins_a_repository_whatever_it_is_called(name: str) -> None:
    refuse_unfit("demo", {"repository": URL, name: COMMIT})


MOVING = [
    "nightly",
    "main",
    "Latest",
    "latest-cu130-runtime",
    "stable-slim",
    "dev-cu13",
    "cu130-nightly",
    "v0.27-latest",
    "nightly-cu130",
]


@pytest.mark.parametrize("tag", MOVING)
def test_a_base_image_whose_tag_moves_is_refused(tag: str) -> None:
    with pytest.raises(ImageError, match=f"its base image x/y:{tag} is pinned to nothing"):
        refuse_floating("demo", f"x/y:{tag}", {})


@pytest.mark.parametrize(
    "base",
    [
        "nvidia/cuda:13.0.3-devel-ubuntu24.04",
        "debian:bookworm-slim",
        "python:3.11",
        "pytorch/pytorch:2.11.0-cuda13.0-cudnn9-devel",
        "vllm/vllm-openai:nightly-f63bfd3d7b425b10e0b5e0e2c130fe113a85d009",
        "x:1.3.0-deepseek-v4-dev.1",
        "latest/main:1",
        f"x:latest@{DIGEST}",
    ],
)
def test_a_base_image_of_a_version_is_taken(base: str) -> None:
    refuse_floating("demo", base, {})


def test_a_base_image_that_a_variable_leaves_open_is_refused() -> None:
    with pytest.raises(ImageError, match=r"its base image cuda:\$\{V\} is named by a variable that has no value"):
        refuse_floating("demo", "cuda:${V}", {})


def test_a_name_that_a_shell_would_obey_stays_one_word_of_the_hint() -> None:
    assert refusal({"commit": "x; reboot", "repository": URL})[1].endswith(f"git ls-remote {URL} 'x; reboot*'")


def test_a_digest_that_is_none_is_looked_up_where_the_image_is() -> None:
    hint = refusal({"base_image": "cuda:13", "base_digest": "abc"})[1]
    assert hint.endswith(": docker image inspect --format '{{.RepoDigests}}' cuda:13")


@pytest.mark.parametrize("digest", ["abc", "sha256:abc", ""])
def test_a_base_image_whose_digest_is_none_is_refused(digest: str) -> None:
    with pytest.raises(ImageError, match=f"its base image cuda@{digest} names a digest that is none"):
        refuse_floating("demo", f"cuda@{digest}", {})


REPOSITORY = "https://github.com/x/y.git"
HEAD = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("https://x/a.tar", "curl -fsSL https://x/a.tar | sha256sum"),
        (f"https://x/a.tar#{HEAD}", f"curl -fsSL 'https://x/a.tar#{HEAD}' | sha256sum"),
        (REPOSITORY, f"git ls-remote {REPOSITORY} HEAD"),
        (f"{REPOSITORY}#v1.2", f"git ls-remote {REPOSITORY} HEAD"),
        (f"{REPOSITORY}#{HEAD[:12]}", f"git ls-remote {REPOSITORY} HEAD"),
        (f"{REPOSITORY}#{HEAD}0", f"git ls-remote {REPOSITORY} HEAD"),
        (f"{REPOSITORY}?tag=v1", f"git ls-remote {REPOSITORY} HEAD"),
        ("git@github.com:x/y.git#main", "git ls-remote git@github.com:x/y.git HEAD"),
        ("ssh://git@x/y", "git ls-remote ssh://git@x/y HEAD"),
    ],
)
def test_what_add_fetches_without_a_pin_is_refused(source: str, told: str) -> None:
    with pytest.raises(ImageError, match=r"template demo: ADD .* is pinned to nothing") as caught:
        refuse_unpinned_add("demo", source, None)
    assert (caught.value.hint or "").endswith(told)


@pytest.mark.parametrize(
    ("source", "checksum"),
    [
        ("https://x/a.tar", "sha256:0a"),
        (REPOSITORY, HEAD),
        (f"{REPOSITORY}#{HEAD}", None),
        (f"{REPOSITORY}#{HEAD}:docs", None),
        (f"{REPOSITORY}?branch=main&commit={HEAD}", None),
        (f"git@github.com:x/y.git#{HEAD}", None),
        (f"ssh://git@x/y#{HEAD}{HEAD[:24]}", None),
    ],
)
def test_what_add_fetches_by_its_hash_is_taken(source: str, checksum: str | None) -> None:
    refuse_unpinned_add("demo", source, checksum)


# -- where they stand ----------------------------------------------------------------------------------------------------

AT = Places("/p/x.toml:3", {"commit": "/p/x.toml:5", "base_image": "/p/x.toml:7"})


def test_what_is_wrong_is_told_with_its_file_and_line() -> None:
    assert refusal({"commit": "main"}, AT)[0].startswith("/p/x.toml:5: commit is 'main'")


def test_a_base_image_that_the_profile_named_is_told_with_its_file_and_line() -> None:
    with pytest.raises(ImageError, match=r"demo: /p/x\.toml:7: its base image cuda:latest is pinned to nothing"):
        refuse_floating("demo", "cuda:latest", {"base_image": "cuda:latest"}, AT)


def test_the_place_of_an_argument_is_in_the_layer_that_says_it(tmp_path: Path) -> None:
    base, own = tmp_path / "base.toml", tmp_path / "own.toml"
    base.write_text('[image.build]\ntemplate = "x"\n[image.build.args]\ncommit = "a"\ntag = "b"\n')
    own.write_text('extends = "base"\n\n[image.build.args]\ntag = "c"\n')
    assert places_of((base, own), ("commit", "tag")) == Places(f"{own}:3", {"commit": f"{base}:4", "tag": f"{own}:4"})


def test_a_file_that_is_gone_costs_the_places_alone(tmp_path: Path) -> None:
    assert places_of((tmp_path / "gone.toml",), ("commit",)) == NOWHERE

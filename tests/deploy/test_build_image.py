"""What an image is built from, decided: pins, jobs, disk, base images, and which builder does it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from launchpad.deploy.build import (
    LABEL_BASE,
    Needs,
    Recipe,
    build_context,
    make_image,
    making_of,
    max_jobs,
    needs_of,
)
from launchpad.deploy.dockerfile import bases
from launchpad.errors import ImageError
from launchpad.runtime.base import RuntimeInfo, Transfer
from tests.fakes.runtime import FakeRuntime, fake_image

if TYPE_CHECKING:
    from pathlib import Path

    from launchpad.runtime.base import Image

GIB = 1 << 30
COMMIT = "0123456789abcdef0123456789abcdef01234567"
INFO = RuntimeInfo(
    "28.0.0", "1.48", "overlay2", "2", ("runc",), None, buildkit=True, cpus=16, memory_bytes=64 * GIB, root_dir="/x"
)
DOCKERFILE = """\
FROM cuda:13.0 AS a
ARG MAX_JOBS=1
{% if buildkit %}RUN --mount=type=cache x{% endif %}
# {{ commit | default("") }} {{ tag | default("") }} {{ repository | default("") }}
"""


def recipe(tmp_path: Path, *, dockerfile: str = DOCKERFILE, needs: str = "", **changes: Any) -> Recipe:
    (tmp_path / "Dockerfile.j2").write_text(dockerfile)
    if needs:
        (tmp_path / "build.toml").write_text(needs)
    return replace(Recipe("demo:1", "demo", {}, tmp_path, {}, INFO), **changes)


# -- pins ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"commit": "main"}, "commit is 'main'"),
        ({"commit": "0123456"}, "commit is '0123456'"),
        ({"commit": COMMIT.upper()}, f"commit is '{COMMIT.upper()}'"),
        ({"commit": ""}, "commit is ''"),
        ({"tag": "v1"}, "tag is 'v1' and commit is missing: a tag can be moved"),
    ],
)
def test_a_source_that_may_be_another_tomorrow_is_refused(tmp_path: Path, args: dict[str, str], says: str) -> None:
    with pytest.raises(ImageError, match=says):
        making_of(recipe(tmp_path, args=args), "now", None)


def test_the_refusal_says_what_tells_the_commit(tmp_path: Path) -> None:
    args = {"tag": "v1", "repository": "https://forge.example/x.git"}
    with pytest.raises(ImageError) as caught:
        making_of(recipe(tmp_path, args=args), "now", None)
    assert caught.value.hint is not None
    assert "git ls-remote https://forge.example/x.git 'refs/tags/v1*'" in caught.value.hint


def test_each_source_has_a_pin_of_its_own(tmp_path: Path) -> None:
    text = "FROM cuda:1\n# {{ commit }} {{ gemm_tag }}"
    with pytest.raises(ImageError, match="gemm_tag is 'v2' and gemm_commit is missing"):
        making_of(recipe(tmp_path, dockerfile=text, args={"commit": COMMIT, "gemm_tag": "v2"}), "now", None)


def test_up_refuses_what_is_not_pinned_as_well(tmp_path: Path) -> None:
    made = recipe(tmp_path, args={"commit": "main"})
    with pytest.raises(ImageError, match="commit is 'main'"):
        build_context(made.folder, made.args)


@pytest.mark.parametrize("base", ["cuda", "cuda:latest", "registry.example:5000/cuda", "registry.example/cuda:latest"])
def test_a_base_image_without_a_version_is_refused(tmp_path: Path, base: str) -> None:
    with pytest.raises(ImageError, match=f"its base image {base} is pinned to nothing"):
        making_of(recipe(tmp_path, dockerfile=f"FROM {base}\n"), "now", None)


@pytest.mark.parametrize("base", ["cuda:13.0", "cuda@sha256:" + "0" * 64, "registry.example:5000/cuda:13"])
def test_a_base_image_with_a_version_or_digest_is_taken(tmp_path: Path, base: str) -> None:
    assert making_of(recipe(tmp_path, dockerfile=f"FROM {base}\n"), "now", None).bases == (base,)


@pytest.mark.parametrize(
    "text",
    [
        "  FROM x:latest\n",
        "FROM \\\n  x:latest\n",
        "FROM a:1\nCOPY --from=x:latest /uv /bin/\n",
        "FROM a:1\nRUN --mount=type=bind,from=x:latest cp x y\n",
        "ARG B=x:latest\nFROM ${B}\n",
        "# syntax=x:latest\nFROM a:1\n",
    ],
)
def test_whatever_is_taken_from_an_image_without_a_version_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ImageError, match="its base image x:latest is pinned to nothing"):
        making_of(recipe(tmp_path, dockerfile=text), "now", None)


def test_a_download_without_a_hash_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"ADD https://x\.example/a\.tar is pinned to nothing"):
        making_of(recipe(tmp_path, dockerfile="FROM a:1\nADD https://x.example/a.tar /x/\n"), "now", None)


def test_base_images_are_those_that_are_no_stage_of_the_file_itself() -> None:
    text = "FROM --platform=linux/amd64 a:1 AS one\nfrom ONE as two\nFROM scratch\nFROM b:2\nFROM a:1\n# FROM c\nRUN FROM d\n"
    assert bases(text) == ("a:1", "b:2")


# -- how much at once, and how much room ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cpus", "memory_gib", "environ", "jobs"),
    [
        (16, 64, {}, 9),
        (4, 64, {}, 4),
        (64, 12, {}, 1),
        (2, 4, {}, 1),
        (16, 64, {"MAX_JOBS": "12"}, 12),
        (None, 64, {}, 1),
    ],
)
def test_jobs_are_bounded_by_cores_and_memory(
    cpus: int | None, memory_gib: int, environ: dict[str, str], jobs: int
) -> None:
    info = replace(INFO, cpus=cpus, memory_bytes=memory_gib * GIB)
    assert max_jobs(info, Needs(job_memory_bytes=6 * GIB), environ)[0] == jobs


@pytest.mark.parametrize("said", ["0", "-1", "many", "1.5", "²"])
def test_a_number_of_jobs_that_is_none_is_refused(said: str) -> None:
    with pytest.raises(ImageError, match="it is no number of jobs"):
        max_jobs(INFO, Needs(), {"MAX_JOBS": said})


def test_jobs_and_their_reason_are_said_where_the_dockerfile_asks_for_them(tmp_path: Path) -> None:
    made = making_of(recipe(tmp_path), "now", None)
    assert made.build_args == {"MAX_JOBS": "14"}
    assert made.remarks == ("MAX_JOBS=14: 16 cores, 64 GiB of memory of which a job may take 4 GiB",)


def test_jobs_are_no_part_of_what_the_image_is_known_by(tmp_path: Path) -> None:
    one, other = (making_of(recipe(tmp_path, environ={"MAX_JOBS": jobs}), jobs, None).labels for jobs in ("1", "2"))
    assert one == other


NEEDS = 'disk = "60GiB"\ndisk_least = "20GiB"\nsource = "modelled"\n'


@pytest.mark.parametrize(
    ("free", "remark"),
    [
        (100 * GIB, "a first build takes about 60 GiB of disk (modelled); 100 GiB are free"),
        (30 * GIB, "a first build takes about 60 GiB of disk (modelled), and 30 GiB are free: enough only where"),
        (None, "a first build takes about 60 GiB of disk (modelled); how much is free cannot be seen from here"),
    ],
)
def test_room_on_the_disk_is_said_before_the_build(tmp_path: Path, free: int | None, remark: str) -> None:
    said = making_of(recipe(tmp_path, needs=NEEDS), "now", free).remarks[1]
    assert said.startswith(remark)


def test_too_little_room_even_for_the_last_steps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot build demo:1: 10 GiB are free, a first build takes about 60 GiB"):
        making_of(recipe(tmp_path, needs=NEEDS), "now", 10 * GIB)


def test_what_a_build_needs_goes_into_no_build(tmp_path: Path) -> None:
    assert list(making_of(recipe(tmp_path, needs=NEEDS), "now", None).context) == ["Dockerfile"]


@pytest.mark.parametrize("text", ["disk = ", 'disk = "many"', "disk = 60"])
def test_needs_that_cannot_be_read_are_refused_by_file(tmp_path: Path, text: str) -> None:
    recipe(tmp_path, needs=text)
    with pytest.raises(ImageError, match=r"build\.toml: "):
        needs_of(tmp_path)


# -- who builds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "mounts"),
    [({}, True), ({"classic": True}, False), ({"info": replace(INFO, buildkit=False)}, False), ({"info": None}, False)],
)
def test_cache_mounts_are_rendered_for_buildkit_alone(tmp_path: Path, changes: dict[str, Any], mounts: bool) -> None:
    made = making_of(recipe(tmp_path, **changes), "now", None)
    assert (made.buildkit, "--mount=type=cache" in made.dockerfile) == (mounts, mounts)


class Engine(FakeRuntime):
    """A runtime whose BuildKit may ask for a session, as one does that has to fetch an image itself."""

    def __init__(self, *, needs_session: bool = False) -> None:
        super().__init__()
        self.needs_session = needs_session
        self.built: list[tuple[bool, dict[str, str]]] = []

    def build(self, context: Any, tag: str, *, buildkit: bool = False, **rest: Any) -> Image:
        self.built.append((buildkit, dict(rest["labels"])))
        if buildkit and self.needs_session:
            raise ImageError(f"cannot build {tag}: failed to solve: no active sessions")
        return super().build(context, tag, buildkit=buildkit, **rest)


def build(made: Recipe, engine: Engine) -> list[str]:
    said: list[str] = []
    seen: list[Transfer] = []
    make_image(made, engine, "now", seen.append, said.append)
    return said


def test_a_base_image_that_is_missing_is_fetched_first_and_stands_on_the_image(tmp_path: Path) -> None:
    engine = Engine()
    engine.registry["cuda:13.0"] = fake_image("cuda:13.0")
    build(recipe(tmp_path), engine)
    assert [labels[LABEL_BASE] for _, labels in engine.built] == [fake_image("cuda:13.0").id]


def test_an_engine_whose_buildkit_wants_a_session_gets_the_classic_builder_with_a_remark(tmp_path: Path) -> None:
    engine = Engine(needs_session=True)
    engine.add_image("cuda:13.0")
    said = build(recipe(tmp_path), engine)
    assert [buildkit for buildkit, _ in engine.built] == [True, False]
    assert any("the classic builder takes over" in line for line in said)

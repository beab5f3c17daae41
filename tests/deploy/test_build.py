"""Templates found and rendered, and what of a person's environment goes into a build."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from launchpad.deploy.build import (
    LABEL_ARGS,
    LABEL_CONTEXT,
    LABEL_TEMPLATE,
    _environment,
    build_context,
    build_labels,
    context_hash,
    dockerfile_of,
    pip_build_args,
    template_path,
    template_roots,
)
from launchpad.deploy.pinned import Places
from launchpad.errors import ImageError, NotFoundError


def template(root: Path, files: dict[str, str], name: str = "demo") -> Path:
    folder = root / name
    for inside, text in files.items():
        path = folder / inside
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


# -- finding -------------------------------------------------------------------------------------------------------------


def test_a_users_template_wins_over_the_shipped_one_of_the_same_name(tmp_path: Path) -> None:
    own = template(tmp_path / "own", {"Dockerfile": "FROM a"})
    template(tmp_path / "shipped", {"Dockerfile": "FROM b"})
    assert template_path("demo", [tmp_path / "own", tmp_path / "shipped"]) == own


def test_a_template_missing_from_the_first_folder_is_found_in_the_next(tmp_path: Path) -> None:
    shipped = template(tmp_path / "shipped", {"Dockerfile": "FROM b"})
    assert template_path("demo", [tmp_path / "no-such-folder", tmp_path / "shipped"]) == shipped


def test_a_misspelt_template_gets_a_suggestion(tmp_path: Path) -> None:
    template(tmp_path, {"Dockerfile": "FROM a"}, name="vllm-cpu")
    with pytest.raises(NotFoundError) as caught:
        template_path("vlm-cpu", [tmp_path])
    assert caught.value.hint == "did you mean vllm-cpu?"


@pytest.mark.parametrize("name", ["..", "../demo", "/etc", "demo/x", "", "Demo", "a\nb"])
def test_a_name_that_is_a_path_finds_nothing(tmp_path: Path, name: str) -> None:
    template(tmp_path / "search", {"Dockerfile": "FROM a", "x/Dockerfile": "FROM a"})
    with pytest.raises(NotFoundError):
        template_path(name, [tmp_path / "search"])


def test_templates_are_looked_for_beside_each_profile_directory_and_last_among_the_shipped(tmp_path: Path) -> None:
    *own, shipped = template_roots([tmp_path / "a" / "profiles", tmp_path / "b" / "profiles"])
    assert (own, (shipped / "vllm-cpu").is_dir()) == (
        [tmp_path / "a" / "templates", tmp_path / "b" / "templates"],
        True,
    )


# -- rendering -----------------------------------------------------------------------------------------------------------


def test_j2_files_are_rendered_and_lose_their_suffix(tmp_path: Path) -> None:
    folder = template(tmp_path, {"Dockerfile.j2": "FROM {{ base }}\n"})
    assert build_context(folder, {"base": "debian"}) == {"Dockerfile": b"FROM debian\n"}


def test_other_files_go_along_as_they_are(tmp_path: Path) -> None:
    folder = template(tmp_path, {"Dockerfile": "FROM a", "sub/run.sh": "{{ not_ours }}"})
    assert build_context(folder, {}) == {"Dockerfile": folder / "Dockerfile", "sub/run.sh": folder / "sub/run.sh"}


def test_a_default_in_the_template_stands_where_no_argument_is_given(tmp_path: Path) -> None:
    folder = template(tmp_path, {"Dockerfile.j2": 'FROM {{ base | default("debian") }}'})
    assert build_context(folder, {}) == {"Dockerfile": b"FROM debian"}


def test_byte_code_caches_stay_behind(tmp_path: Path) -> None:
    folder = template(tmp_path, {"Dockerfile": "FROM a", "__pycache__/x.pyc": "old"})
    assert list(build_context(folder, {})) == ["Dockerfile"]


UNFIT = {
    "an undefined variable, with its line": (
        {"Dockerfile.j2": "FROM a\n\nRUN {{ what }}\n"},
        {},
        "cannot render template demo: Dockerfile.j2:3: 'what' is undefined",
    ),
    "a syntax error, with its line": (
        {"Dockerfile.j2": "FROM a\n{% if %}\n"},
        {},
        "cannot render template demo: Dockerfile.j2:2: Expected an expression, got 'end of statement block'",
    ),
    "a variable undefined in an included file": (
        {"Dockerfile.j2": '{% include "part.j2" %}', "part.j2": "\n{{ what }}"},
        {},
        "cannot render template demo: part.j2:2: 'what' is undefined",
    ),
    "a division by nothing": (
        {"Dockerfile.j2": "\n{{ 1 // 0 }}"},
        {},
        "cannot render template demo: Dockerfile.j2:2: integer division or modulo by zero",
    ),
    "an argument that no file uses": (
        {"Dockerfile.j2": "FROM {{ base_image }}"},
        {"base_image": "a", "base_imag": "b"},
        "cannot render template demo: no file of it uses the argument 'base_imag'",
    ),
    "no Dockerfile": (
        {"readme": "hello"},
        {},
        "cannot render template demo: it has neither Dockerfile.j2 nor Dockerfile",
    ),
    "two files for one place": (
        {"Dockerfile": "FROM a", "Dockerfile.j2": "FROM b"},
        {},
        "cannot render template demo: both Dockerfile and Dockerfile.j2 are there; remove one",
    ),
    "a huge file to render": (
        {"Dockerfile.j2": "#" * (1024 * 1024 + 1)},
        {},
        "cannot render template demo: Dockerfile.j2: it is larger than 1 MiB; only small text is rendered",
    ),
    "a reach for Python's innards": (
        {"Dockerfile.j2": "{{ ''.__class__.__mro__ }}"},
        {},
        "cannot render template demo: Dockerfile.j2:1: access to attribute '__class__' of 'str' object is unsafe.",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_an_unfit_template_is_refused_with_one_clear_line(tmp_path: Path, case: str) -> None:
    files, args, said = UNFIT[case]
    with pytest.raises(ImageError) as caught:
        build_context(template(tmp_path, files), args)
    assert caught.value.message == said


def test_a_misspelt_argument_gets_a_suggestion(tmp_path: Path) -> None:
    folder = template(tmp_path, {"Dockerfile.j2": "FROM {{ base_image }}"})
    with pytest.raises(ImageError) as caught:
        build_context(folder, {"base_imag": "b"})
    assert caught.value.hint == "did you mean base_image?"


AT = Places("/p/mine.toml:9", {"base_imag": "/p/mine.toml:11"})


def test_a_misspelt_argument_is_told_with_its_place_in_the_profile(tmp_path: Path) -> None:
    folder = template(tmp_path, {"Dockerfile.j2": "FROM {{ base_image }}"})
    with pytest.raises(ImageError, match=r"demo: /p/mine\.toml:11: no file of it uses the argument 'base_imag'"):
        build_context(folder, {"base_imag": "b"}, places=AT)


def test_an_argument_that_is_missing_is_told_with_the_place_where_it_belongs(tmp_path: Path) -> None:
    folder = template(tmp_path, {"Dockerfile.j2": "FROM {{ base_image }}"})
    with pytest.raises(ImageError) as caught:
        build_context(folder, {}, places=AT)
    assert caught.value.hint == "give it in [image.build.args] of /p/mine.toml:9, or a default in the template"


NASTY = 'x\'; touch /pwn; echo "$HOME" \\'


def test_a_value_is_one_word_of_a_shell(tmp_path: Path) -> None:
    folder = template(tmp_path, {"Dockerfile.j2": "printf %s {{ value | shell }}"})
    line = dockerfile_of(build_context(folder, {"value": NASTY}))
    assert subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout == NASTY


def test_a_value_is_one_word_of_a_dockerfile_in_which_nothing_is_expanded(tmp_path: Path) -> None:
    folder = template(tmp_path, {"Dockerfile.j2": "LABEL x={{ value | docker }} y={{ number | docker }}"})
    line = dockerfile_of(build_context(folder, {"value": 'a "b" $HOME \\', "number": 2}))
    assert line == r'LABEL x="a \"b\" \$HOME \\" y="2"'


def test_a_template_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    folder = template(tmp_path, {"Dockerfile": "FROM a"})
    (folder / "x.j2").write_bytes(b"ab\xff")
    with pytest.raises(ImageError, match=r"x\.j2: byte 2 is no UTF-8"):
        build_context(folder, {})


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "nowhere"])
def test_a_link_that_climbs_out_or_leads_nowhere_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "secret").write_text("hush")
    folder = template(tmp_path, {"Dockerfile": "FROM a"})
    (folder / "leak").symlink_to(target)
    with pytest.raises(ImageError, match="leak is "):
        build_context(folder, {})


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = template(tmp_path, {"Dockerfile": "FROM a"})
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ImageError, match="more is a link to"):
        build_context(folder, {})


def test_a_link_to_a_file_beside_it_is_followed(tmp_path: Path) -> None:
    folder = template(tmp_path, {"Dockerfile": "FROM a"})
    (folder / "again").symlink_to("Dockerfile")
    assert list(build_context(folder, {})) == ["Dockerfile", "again"]


# -- labels --------------------------------------------------------------------------------------------------------------


def test_the_labels_name_the_template_its_arguments_and_the_hash_of_what_went_in() -> None:
    context = {"Dockerfile": b"FROM a"}
    assert build_labels("demo", context, {"b": 2, "a": "x"}) == {
        LABEL_TEMPLATE: "demo",
        LABEL_CONTEXT: context_hash(context),
        LABEL_ARGS: '{"a": "x", "b": "2"}',
    }


def test_a_file_and_the_same_bytes_have_one_hash(tmp_path: Path) -> None:
    folder = template(tmp_path, {"Dockerfile": "FROM a"})
    assert context_hash({"Dockerfile": folder / "Dockerfile"}) == context_hash({"Dockerfile": b"FROM a"})


@pytest.mark.parametrize("other", [{"Dockerfile": b"FROM b"}, {"dockerfile": b"FROM a"}, {"Dockerfil": b"eFROM a"}])
def test_another_context_has_another_hash(other: dict[str, bytes | Path]) -> None:
    assert context_hash(other) != context_hash({"Dockerfile": b"FROM a"})


# -- the person's pip settings -------------------------------------------------------------------------------------------

SETTINGS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "an index goes in": (
        {"PIP_INDEX_URL": "https://mirror.example/simple"},
        {"PIP_INDEX_URL": "https://mirror.example/simple"},
    ),
    "a folder of this machine stays out": ({"PIP_FIND_LINKS": "/srv/wheels"}, {}),
    "a file URL stays out": ({"PIP_EXTRA_INDEX_URL": "file:///srv/simple"}, {}),
    "of several, those that a build can reach go in": (
        {"PIP_FIND_LINKS": "/srv/wheels http://127.0.0.1:9/  https://w.example/"},
        {"PIP_FIND_LINKS": "http://127.0.0.1:9/ https://w.example/"},
    ),
    "words that are no URL go in where none belongs": (
        {"PIP_NO_INDEX": "1", "PIP_TRUSTED_HOST": "mirror.example"},
        {"PIP_NO_INDEX": "1", "PIP_TRUSTED_HOST": "mirror.example"},
    ),
    "proxies go in, in both spellings": (
        {"HTTPS_PROXY": "http://p.example:3128", "no_proxy": "localhost"},
        {"HTTPS_PROXY": "http://p.example:3128", "no_proxy": "localhost"},
    ),
    "an empty setting is none": ({"PIP_INDEX_URL": "", "HTTP_PROXY": ""}, {}),
    "nothing else goes in": ({"PATH": "/bin", "HF_TOKEN": "x", "PIP_CERT": "/etc/ssl/ca.pem"}, {}),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_of_the_environment(case: str) -> None:
    environ, expected = SETTINGS[case]
    assert pip_build_args(environ) == expected


def test_an_index_with_a_password_is_refused() -> None:
    with pytest.raises(ImageError, match="cannot build with PIP_INDEX_URL: its URL carries a user or password"):
        pip_build_args({"PIP_INDEX_URL": "https://me:hush@mirror.example/simple"})


def test_the_refusal_does_not_repeat_the_password() -> None:
    with pytest.raises(ImageError) as caught:
        pip_build_args({"PIP_FIND_LINKS": "https://me:hush@mirror.example/simple"})
    assert "hush" not in f"{caught.value.message} {caught.value.hint}"


def test_the_refusal_says_what_helps_whatever_command_builds() -> None:
    with pytest.raises(ImageError) as caught:
        pip_build_args({"PIP_INDEX_URL": "https://me:hush@mirror.example/simple"})
    assert caught.value.hint == "set PIP_INDEX_URL to a URL without one, or leave it out: unset PIP_INDEX_URL"


# -- the shipped templates -----------------------------------------------------------------------------------------------


def test_the_shipped_template_renders_with_its_defaults() -> None:
    dockerfile = build_context(template_path("vllm-cpu", template_roots([])), {})["Dockerfile"]
    assert isinstance(dockerfile, bytes)
    assert dockerfile.decode().splitlines()[0] == "FROM debian:bookworm-slim"


def test_every_variable_of_the_shipped_template_is_documented_at_its_top() -> None:
    source = (template_path("vllm-cpu", template_roots([])) / "Dockerfile.j2").read_text()
    head = source.partition("-#}")[0]
    documented = {line.split()[0] for line in head.splitlines() if line.startswith("  ") and not line.startswith("   ")}
    from jinja2 import meta

    assert documented == meta.find_undeclared_variables(_environment(Path()).parse(source))


@pytest.mark.parametrize("name", ["vllm-cpu", "dynamo-mocker"])
def test_hadolint_finds_nothing_in_a_demo_template(name: str) -> None:
    rendered = dockerfile_of(build_context(template_path(name, template_roots([])), {}))
    hadolint = Path(sys.executable).with_name("hadolint")
    told = subprocess.run([hadolint, "--no-color", "-"], input=rendered, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "")


def test_the_words_of_a_demo_template_stay_words() -> None:
    args = {"torch_backend": "cpu", "model_seed": "0"}
    rendered = dockerfile_of(build_context(template_path("vllm-cpu", template_roots([])), args))
    assert ("install.sh cpu\n" in rendered, "--seed 0\n" in rendered) == (True, True)

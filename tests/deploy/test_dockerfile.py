"""What a Dockerfile takes from where, read as builders read it. Data against text."""

from __future__ import annotations

import pytest

from launchpad.deploy.dockerfile import added, bases, frontend, instructions, pins

TAKEN = {
    "an indented FROM": ("  FROM cuda:1 AS x\n", ("cuda:1",)),
    "a FROM behind a tab": ("FROM\tcuda:1\n", ("cuda:1",)),
    "a FROM on two lines": ("FROM \\\n  cuda:1\n", ("cuda:1",)),
    "a FROM with a platform": ("FROM --platform=linux/amd64 cuda:1 as base\nFROM BASE\n", ("cuda:1",)),
    "a FROM that no builder takes": ("FROM cuda:1 AS b # why\n", ("cuda:1",)),
    "a copy from an image": ("FROM a:1\nCOPY --chown=1 --from=uv:2 /uv /bin/\n", ("a:1", "uv:2")),
    "a copy from a stage, by name and by number": (
        "FROM a:1 AS One\nCOPY --from=one x y\nCOPY --from=0 x y\n",
        ("a:1",),
    ),
    "a mount from an image": ("FROM a:1\nRUN --mount=type=bind,from=b:2,target=/b cp x y\n", ("a:1", "b:2")),
    "a mount in quotes": ('FROM a:1\nRUN --mount="type=bind,from=b:2" cp x y\n', ("a:1", "b:2")),
    "a mount of a cache": ("FROM a:1\nRUN --mount=type=cache,target=/c cp x y\n", ("a:1",)),
    "a mount on a second line": ("FROM a:1\nRUN \\\n  # why\n\n  --mount=from=b:2 cp x y\n", ("a:1", "b:2")),
    "what an image's users copy": ("FROM a:1\nONBUILD COPY --from=b:2 x y\n", ("a:1", "b:2")),
    "a word of a command": ("FROM a:1\nRUN ./get --from=b:2 && \\\nFROM c\n", ("a:1",)),
    "words in a heredoc": ("FROM a:1\nRUN <<-'EOF' sh\n\tFROM no\n\tEOF\nCOPY --from=b:2 x y\n", ("a:1", "b:2")),
    "a here-string is no heredoc": ("FROM a:1\nRUN cat <<<EOF\nCOPY --from=b:2 x y\n", ("a:1", "b:2")),
    "an argument's default": ("ARG V=13\nARG B=cuda:$V\nFROM ${B}-devel\n", ("cuda:13-devel",)),
    "a default on the spot": ("ARG V\nFROM cuda:${V:-12}\n", ("cuda:12",)),
    "an argument without a value": ("ARG B\nFROM ${B}\n", ("${B}",)),
    "an argument of a stage names no image": ("FROM a:1\nARG B=b:2\nFROM $B\n", ("a:1", "$B")),
    "another escape character": ("# escape=`\nFROM `\n  a:1\n", ("a:1",)),
    "the last line goes on": ("FROM a:1\nCOPY --from=b:2 x \\\n", ("a:1", "b:2")),
    "nothing": ("", ()),
    "FROM alone": ("FROM\n", ("",)),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_taken_from_an_image_is_found(case: str) -> None:
    text, expected = TAKEN[case]
    assert bases(text) == expected


ADDED = {
    "a file of the context": ("ADD a.tar /x/\n", ()),
    "a URL": ("ADD https://x/a.tar /x/\n", (("https://x/a.tar", None),)),
    "a URL with its hash": (
        "add --checksum=sha256:0a --chown=1 https://x/a.tar /x/\n",
        (("https://x/a.tar", "sha256:0a"),),
    ),
    "two on two lines": (
        "ADD http://x/a \\\n  b git@x.y:z/w.git /x/\n",
        (("http://x/a", None), ("git@x.y:z/w.git", None)),
    ),
    "a list": ('ADD ["https://x/a b", "c", "/x/"]\n', (("https://x/a b", None),)),
    "no list after all": ("ADD [https://x/a /x/\n", ()),
    "where it goes to": ("ADD a https://x\n", ()),
    "what an image's users fetch": ("ONBUILD ADD https://x/a /x/\n", (("https://x/a", None),)),
    "another instruction": ("COPY https://x/a /x/\nRUN ADD https://x/a /x/\n", ()),
    "nothing": ("ADD\n", ()),
}


@pytest.mark.parametrize("case", ADDED)
def test_what_add_fetches_is_found(case: str) -> None:
    text, expected = ADDED[case]
    assert added(text) == expected


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("# syntax=docker/dockerfile:1.7\nFROM a:1\n", "docker/dockerfile:1.7"),
        ("#escape=`\n#Syntax = x/y:1 \nFROM a:1\n", "x/y:1"),
        ("# hello\n# syntax=docker/dockerfile:1.7\nFROM a:1\n", None),
        ("FROM a:1\n# syntax=docker/dockerfile:1.7\n", None),
    ],
)
def test_who_reads_the_file_is_named_at_its_top_alone(text: str, image: str | None) -> None:
    assert frontend(text) == image


def test_pins_are_those_of_the_labels_without_their_quotes() -> None:
    text = 'FROM a:1\nLABEL x=y io.launchpad.pin.uv="0.1" \\\n  io.launchpad.pin.a-b="x \\"y\\" \\$z"\nRUN io.launchpad.pin.no=1\n'
    assert pins(text) == {"uv": "0.1", "a-b": 'x "y" $z'}


def test_an_instruction_is_one_line_without_its_comments() -> None:
    assert list(instructions("# hi\nrun a \\\n  # why\n  b\n\ncmd c\n")) == [("RUN", "a    b"), ("CMD", "c")]

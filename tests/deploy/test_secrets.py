"""Secrets are read at the last moment, and an error names the secret, never its value."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from launchpad.deploy.apply import key_of, read_secrets
from launchpad.deploy.spec import HostedChoice
from launchpad.errors import LaunchpadError
from launchpad.runtime.base import SecretRef
from tests.deploy.specs import profile, spec

if TYPE_CHECKING:
    from pathlib import Path


def read(environ: dict[str, str] | None = None, **says: Any) -> dict[str, str]:
    """The secrets of SMALL with one secret T."""
    return read_secrets(spec(profile(secrets={"T": says})), environ or {})["launchpad-small"]


def hosted_key(value: str) -> str | None:
    """The key of an endpoint as it is sent, from an environment that says ``value``."""
    made = replace(spec(), hosted=HostedChoice("https://api.example.com/v1", SecretRef("hosted.key", "KEY", None)))
    return key_of(made, read_secrets(made, {"KEY": value}))


@pytest.mark.parametrize("around", ["{}", "{}\n", "{}\r\n", "  {}"])
def test_a_line_end_behind_the_key_of_a_hosted_endpoint_is_no_part_of_it(around: str) -> None:
    assert hosted_key(around.format("sk-1234")) == "sk-1234"


@pytest.mark.parametrize("value", ["sk-12\n34", "sk-é", "sk 12", "sk-\x00"])
def test_a_key_that_no_header_can_carry_is_refused_and_never_repeated(value: str) -> None:
    with pytest.raises(
        LaunchpadError, match=r"cannot start .*: hosted\.key, from environment variable KEY, holds"
    ) as told:
        hosted_key(value)

    assert value not in told.value.message


def test_a_secret_comes_from_the_variable_it_names() -> None:
    assert read({"MINE": "value", "T": "other"}, from_env="MINE") == {"T": "value"}


def test_a_secret_in_a_file_comes_without_its_newline(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("value\n")

    assert read(from_file=str(tmp_path / "t")) == {"T": "value"}


@pytest.mark.parametrize("environ", [{}, {"MINE": ""}])
def test_a_secret_that_may_be_missing_is_left_out(environ: dict[str, str]) -> None:
    assert read(environ, from_env="MINE", required=False) == {}


def test_a_missing_variable_is_an_error_with_the_line_that_sets_it() -> None:
    with pytest.raises(LaunchpadError) as caught:
        read(from_env="MINE")

    assert (caught.value.message, caught.value.hint) == (
        "cannot start small: secret T has no value: environment variable MINE is not set",
        "export MINE=...",
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read"), (b"", "is empty"), (b" \n", "is empty"), (b"\xff\xfe", "cannot be read")],
    ids=["no file", "empty", "blank", "no text"],
)
def test_a_file_without_a_value_is_an_error_with_the_line_that_writes_it(
    content: bytes | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "t"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(LaunchpadError) as caught:
        read(from_file=str(path))

    assert (caught.value.message, caught.value.hint) == (
        f"cannot start small: secret T has no value: file {path} {says}",
        f"sudo install -m 600 /dev/stdin {path}, and paste the value",
    )


def test_a_server_without_secrets_needs_none() -> None:
    assert read_secrets(spec(), {}) == {"launchpad-small": {}}

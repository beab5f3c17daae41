"""The Docker Engine that the tests drive, asked directly; one that does not answer fails them, and skips nothing."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import docker
import docker.errors
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def docker_engine(target: str) -> Iterator[docker.DockerClient]:
    """A client of the engine; where none answers the test fails and names ``target``, the make target that starts one."""
    made = docker.from_env()
    try:
        try:
            made.ping()
        except (docker.errors.DockerException, OSError) as error:
            where = os.environ.get("DOCKER_HOST", "the default socket")
            pytest.fail(f"no Docker Engine answers at {where}: {error}; run: make {target}")
        yield made
    finally:
        made.close()

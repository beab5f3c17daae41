"""What ``launchpad render -f compose`` prints, read by docker-compose itself. Needs no Docker Engine, only that program."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from launchpad.deploy.export import compose
from tests.deploy.specs import SHIPPED, profile, shipped, spec

if TYPE_CHECKING:
    from pathlib import Path

    from launchpad.deploy.spec import Spec

pytestmark = pytest.mark.e2e


def accepted(made: Spec, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """``docker-compose config`` on the document of ``made``."""
    program = shutil.which("docker-compose")
    if program is None:
        pytest.fail("docker-compose is missing: sudo apt-get install -y docker-compose, or: make tools", pytrace=False)
    path = folder / "compose.yaml"
    path.write_text(yaml.safe_dump(compose(made), sort_keys=False, width=120), encoding="utf-8")
    return subprocess.run(
        [program, "-f", str(path), "config"],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", [name for name in SHIPPED.names() if SHIPPED.load(name).profile.engine != "hosted"])
def test_docker_compose_accepts_every_shipped_profile(name: str, tmp_path: Path) -> None:
    made = shipped(name)
    secrets = {item.from_env: "a value" for server in made.containers for item in server.secrets if item.from_env}
    ended = accepted(made, tmp_path, **secrets)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_docker_compose_reads_the_words_of_the_command_as_they_are(tmp_path: Path) -> None:
    words = ["server", "a b", "$HOME", "${HOME}", "$$", "it's", '{"a":1}', "1", "yes"]
    made = spec(profile(engine="generic", command=words, probes={"readiness": {"path": "/"}}, gpus=None, parallel=None))
    read = yaml.safe_load(accepted(made, tmp_path).stdout)["services"]["server"]["command"]

    assert [word.replace("$$", "$") for word in read] == words  # its own output is a compose file again


def test_docker_compose_refuses_to_go_on_without_a_required_secret(tmp_path: Path) -> None:
    made = spec(profile(secrets={"HF_TOKEN": {"from_env": "MY_TOKEN"}}))

    assert "MY_TOKEN" in accepted(made, tmp_path).stderr


def test_docker_compose_takes_a_required_secret_from_its_variable(tmp_path: Path) -> None:
    made = spec(profile(secrets={"HF_TOKEN": {"from_env": "MY_TOKEN"}}))
    read = yaml.safe_load(accepted(made, tmp_path, MY_TOKEN="very secret").stdout)

    assert read["services"]["server"]["environment"]["HF_TOKEN"] == "very secret"

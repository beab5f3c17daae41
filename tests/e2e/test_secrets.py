"""A secret's value reaches the server's environment and nothing else."""

from __future__ import annotations

import json

import pytest

from tests.e2e.harness import NewRig, Scene, eventually

FROM_ENV = "sk-e2e-from-the-environment-4711"
FROM_FILE = "hf_e2e_from_a_file_0815"
#: A private server that prints its secrets before it serves: bad manners that some engines have.
TALKATIVE = (
    "import os, sys; print('token', os.environ['TOKEN'], os.environ['HF_TOKEN'], flush=True);"
    "os.execv('/usr/bin/python3', ['python3', '/opt/rehearsal/engine.py', *sys.argv[1:]])"
)


@pytest.fixture(scope="module")
def crashed(shared: NewRig, image: str) -> Scene:
    """A server with two secrets that printed them, was killed, and came back."""
    rig = shared()
    file = rig.root / "hf-token"
    file.write_text(FROM_FILE + "\n")
    name = rig.generic(
        image=image,
        entrypoint=["/usr/bin/python3", "-c", TALKATIVE],
        secrets={"TOKEN": {"from_env": "E2E_TOKEN"}, "HF_TOKEN": {"from_file": str(file)}},
    )
    ran = rig.run("up", name, env={"E2E_TOKEN": FROM_ENV}).ends(0)
    rig.client.api.kill(f"launchpad-{name}")
    rig.await_history(name, "READY", "BACKOFF", "STARTING", "READY")
    return Scene(rig, name, ran)


def test_the_server_gets_its_secrets_again_after_a_crash(crashed: Scene) -> None:
    env = crashed.rig.inspect(crashed.name)["Config"]["Env"]
    assert {f"TOKEN={FROM_ENV}", f"HF_TOKEN={FROM_FILE}"} <= set(env)


@pytest.mark.parametrize("value", [FROM_ENV, FROM_FILE], ids=["from_env", "from_file"])
class TestNoSecretLeaks:
    def test_into_the_state_directory(self, crashed: Scene, value: str) -> None:
        eventually((crashed.rig.deployment(crashed.name) / "server.log").exists)
        holders = [
            str(path.relative_to(crashed.rig.state))
            for path in crashed.rig.state.rglob("*")
            if path.is_file() and value.encode() in path.read_bytes()
        ]
        assert holders == []

    def test_into_argv_or_labels(self, crashed: Scene, value: str) -> None:
        found = crashed.rig.inspect(crashed.name)
        words = [
            found["Path"],
            *found["Args"],
            json.dumps(found["Config"]["Labels"]),
            json.dumps(found["Config"]["Cmd"]),
        ]
        assert not any(value in word for word in words)

    def test_into_what_launchpad_says(self, crashed: Scene, value: str) -> None:
        rig, name = crashed.rig, crashed.name
        said = crashed.ran.out + crashed.ran.err
        commands = [("logs", name), ("events", name, "--json"), ("status", name, "--json")]
        said += "".join(ran.out + ran.err for ran in (rig.run(*words) for words in commands))
        for words in (("plan", name, "--json"), ("render", name)):
            ran = rig.run(*words, env={"E2E_TOKEN": FROM_ENV})
            said += ran.out + ran.err
        assert value not in said


def test_the_crash_folder_holds_names_without_values(crashed: Scene) -> None:
    inspected = json.dumps(crashed.rig.crash(crashed.name)["inspect.json"])
    assert "TOKEN" in inspected
    assert "token *** ***" in crashed.rig.crash(crashed.name)["log.txt"]


def test_the_names_of_the_secrets_are_on_the_container(crashed: Scene) -> None:
    assert crashed.rig.inspect(crashed.name)["Config"]["Labels"]["io.launchpad.secrets"] == "HF_TOKEN,TOKEN"

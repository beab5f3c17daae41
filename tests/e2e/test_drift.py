"""A changed profile: what makes a new container necessary, what does not, and that `plan` says it beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.harness import Rig


def test_a_changed_flag_replaces_the_container_and_the_plan_names_the_cause(rig: Rig) -> None:
    name = rig.profile(engine_args={"watchdog-timeout": 1200})
    rig.rehearse(name).ends(0)
    old = rig.inspect(name)["Id"]
    rig.profile(engine_args={"watchdog-timeout": 600})
    rig.rehearse(name).ends(0, "flag --watchdog-timeout: 1200 -> 600")
    assert rig.inspect(name)["Id"] != old
    assert [container.id for container in rig.mine()] == [rig.inspect(name)["Id"]]
    assert rig.history(name) == ["STARTING", "READY", "STOPPING", "STARTING", "READY"]
    assert "spec changed" in [event.reason for event in rig.journal(name)]


def test_a_changed_environment_replaces_the_container(rig: Rig) -> None:
    name = rig.profile(env={"NCCL_DEBUG": "WARN"})
    rig.rehearse(name).ends(0)
    begun = rig.started_at(name)
    rig.profile(env={"NCCL_DEBUG": "INFO"})
    rig.rehearse(name).ends(0, "env NCCL_DEBUG: WARN -> INFO")
    assert rig.started_at(name) != begun


def test_a_changed_probe_or_backoff_keeps_the_container_and_counts_from_now_on(rig: Rig) -> None:
    name = rig.profile(restart={"budget": 5})
    rig.rehearse(name).ends(0)
    begun = rig.started_at(name)
    rig.profile(restart={"budget": 0}, probes={"liveness": {"failures": 9}})
    rig.rehearse(name).ends(0)
    assert rig.started_at(name) == begun
    assert rig.history(name) == ["STARTING", "READY"]
    rig.client.api.kill(f"launchpad-{name}")
    rig.await_history(name, "READY", "FAILED")


def test_plan_says_beforehand_what_up_then_does(rig: Rig, image: str) -> None:
    name = rig.generic(image=image)
    assert steps(rig, name) == ["create", "start"]
    rig.run("up", name).ends(0)
    assert steps(rig, name) == ["keep"]
    rig.generic(image=image, env={"COLOUR": "blue"})
    planned = rig.run("plan", name, "--json").ends(0).json
    assert [step["action"] for step in planned["steps"]] == ["stop", "remove", "create", "start"]
    assert {step["cause"] for step in planned["steps"][:3]} == {"env COLOUR added"}
    assert rig.history(name) == ["STARTING", "READY"]
    rig.run("up", name).ends(0, "env COLOUR added")
    assert rig.history(name) == ["STARTING", "READY", "STOPPING", "STARTING", "READY"]
    assert steps(rig, name) == ["keep"]


def test_plan_changes_nothing(rig: Rig, image: str) -> None:
    name = rig.generic(image=image)
    rig.run("plan", name).ends(0, "no container of this deployment")
    assert rig.mine() == []
    assert not rig.deployment(name).exists()


def test_plan_on_a_recorded_rig_gives_steps_spec_and_findings(rig: Rig) -> None:
    name = rig.profile()
    planned = rig.run("plan", name, "--rig", "4x-rtx-pro-6000", "--json").ends(0).json
    assert {"steps", "spec", "findings"} <= set(planned)
    assert [step["action"] for step in planned["steps"]] == ["pull", "create-volume", "create", "start"]
    assert all({"action", "target", "cause"} <= set(step) for step in planned["steps"])


def steps(rig: Rig, name: str) -> list[str]:
    return [step["action"] for step in rig.run("plan", name, "--json").ends(0).json["steps"]]

"""``plan`` and ``render``: what would be done, and what it is in other tools' words. Neither changes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from launchpad.cli import complete, render
from launchpad.cli.world import World

if TYPE_CHECKING:
    from launchpad.cli.launch import Draft, Wish
    from launchpad.runtime.base import Runtime

NameArgument = Annotated[
    str, typer.Argument(help="Profile name, or path of a profile.", autocompletion=complete.profiles)
]
RigOption = Annotated[str | None, typer.Option(help="Recorded rig instead of this one.", autocompletion=complete.rigs)]


def plan(
    name: NameArgument,
    rig: RigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The plan as one JSON document.")] = False,
) -> None:
    """Show what `up` would do, step by step with the cause of each, and what speaks against it.

    Exit code 0 where nothing blocks, 1 where something can be mended, 4 where a known hazard blocks.

    Examples: launchpad plan v4-flash-sglang-tp4 | launchpad plan v4-flash-sglang-tp4 --rig 4x-rtx-pro-6000 --json
    """
    from launchpad.cli import launch
    from launchpad.doctor.finding import exit_code
    from launchpad.store.files import builtins

    world = World()
    wish = launch.load(world, name, rig=rig)
    drawn = launch.draft(world, wish, _runtime(world, wish))
    if as_json:
        render.answer_json(
            {
                "steps": builtins(drawn.plan.steps),
                "changes": list(drawn.plan.changes),
                "spec": {**builtins(drawn.spec), "hash": drawn.spec.hash},
                "findings": [render.finding_json(finding) for finding in drawn.findings],
                "warm": drawn.warm,
            }
        )
    else:
        render.out(render.plan(drawn.spec, drawn.plan, warm=drawn.warm))
        render.findings(drawn.findings)
    raise typer.Exit(exit_code(drawn.findings))


def show(
    name: NameArgument,
    form: Annotated[
        Literal["docker", "json", "compose"],
        typer.Option("--format", "-f", help="docker run line, spec or compose file."),
    ] = "docker",
    rig: RigOption = None,
) -> None:
    """Print a profile as the equivalent docker run line, as JSON, or as a compose file.

    Examples: launchpad render v4-flash-sglang-tp4 --rig 4x-rtx-pro-6000 | launchpad render NAME -f compose > compose.yaml
    """
    from launchpad.cli import launch

    world = World()
    wish = launch.load(world, name, rig=rig)
    launch.refuse_hosted(wish.loaded, "render", "its spec is all there is: launchpad plan {name} --json")
    drawn = launch.draft(world, wish, _runtime(world, wish))
    match form:
        case "docker":
            _docker(drawn)
        case "json":
            from launchpad.store.files import builtins

            render.answer_json({**builtins(drawn.spec), "hash": drawn.spec.hash})
        case "compose":
            import yaml

            from launchpad.deploy.export import compose

            render.out(yaml.safe_dump(compose(drawn.spec), sort_keys=False, width=120).rstrip())


def _docker(drawn: Draft) -> None:
    from launchpad.deploy.export import docker_line

    for container in drawn.spec.containers:
        render.out(docker_line(container))


def _runtime(world: World, wish: Wish) -> Runtime | None:
    """On a recorded rig the Docker Engine is only a help; on this one it is part of the answer."""
    from launchpad.errors import RuntimeUnavailable

    if wish.facts.recorded is None or wish.hosted:
        return world.runtime_for(hosted=wish.hosted)
    try:
        world.runtime.info()
    except RuntimeUnavailable as error:
        render.say(f"planned on paper: {error.message}")
        return None
    return world.runtime

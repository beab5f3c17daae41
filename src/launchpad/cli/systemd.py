"""``systemd``, ``enable`` and ``disable``: deployments that come back after a reboot.

The unit is written once; ``up`` uses it from then on, and ``enable`` names the deployments that boot brings up.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from launchpad.cli import complete, render
from launchpad.cli.world import World

if TYPE_CHECKING:
    from launchpad.supervise.systemd import ServiceManager, UnitView

app = typer.Typer(
    name="systemd",
    help="Install, remove and show the systemd unit that keeps deployments up across reboots."
    "\n\nExample: sudo launchpad systemd install",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

UserOption = Annotated[bool, typer.Option("--user", help="Your own service manager instead of the machine's.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object.")]


@app.command()
def install(
    user: UserOption = False,
    print_: Annotated[bool, typer.Option("--print", help="Print the unit and write nothing.")] = False,
    power_cap: Annotated[
        bool, typer.Option("--power-cap", help="Besides, a drop-in that lets the supervisor set GPU power limits.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write launchpad@.service; `up` uses it from then on, `enable NAME` brings a deployment back after a reboot.

    DOCKER_HOST, LAUNCHPAD_STATE_DIR and LAUNCHPAD_PROFILES are written into it where they are set. What runs goes on.

    Examples: sudo launchpad systemd install | launchpad systemd install --user | launchpad systemd install --print
    """
    from launchpad.errors import LaunchpadError
    from launchpad.store.state import make_folder
    from launchpad.supervise import systemd

    world = World()
    if power_cap and user:
        raise typer.BadParameter("a user's service manager cannot give CAP_SYS_ADMIN", param_hint="--power-cap")
    uses = (Path(sys.executable), Path(sys.prefix), Path(sys.base_prefix), Path(__file__))
    setup = systemd.setup(world.environ, user=user, python=sys.executable, state=world.store.root, uses=uses)
    text = systemd.render(setup)
    if print_:
        render.out(text.rstrip())
        return
    if not user and os.geteuid() == 0 and (owner := _owner(setup.state)) not in {None, 0}:
        raise LaunchpadError(
            f"cannot install the unit for {setup.state}: that folder belongs to user {owner}",
            hint="as that user: launchpad systemd install --user",
        )
    manager = _manager(world, user=user)
    make_folder(setup.state)
    changed = manager.install(text, power_cap=power_cap)
    remarks = [f"{name}={value} is written into it" for name, value in setup.environment]
    if not manager.runs:
        remarks.append("systemd does not run here now: it reads the unit when it does")
    remarks += _linger(world, manager)
    if as_json:
        render.answer_json(
            {
                "path": str(manager.path),
                "user": user,
                "changed": changed,
                "environment": dict(setup.environment),
                "remarks": remarks,
            }
        )
        return
    for remark in remarks:
        render.say(f"  {remark}")
    render.out(f"{manager.path} {'written' if changed else 'stood so already'}; next: launchpad enable NAME")


@app.command()
def uninstall(user: UserOption = False, as_json: JsonOption = False) -> None:
    """Remove launchpad@.service, once nothing uses it. No server is stopped.

    Example: sudo launchpad systemd uninstall
    """
    from launchpad.errors import LaunchpadError

    world = World()
    manager = _manager(world, user=user)
    for view in _instances(world, manager):
        if view.enabled:
            raise LaunchpadError(
                f"cannot remove {manager.path}: {view.name} comes up with it", hint=f"launchpad disable {view.name}"
            )
        if view.pid is not None:
            raise LaunchpadError(
                f"cannot remove {manager.path}: the supervisor of {view.name} runs under it",
                hint=f"launchpad down {view.name}, or leave its server alone: "
                f"systemctl{manager.flag} stop {manager.unit(view.name)}",
            )
    gone = manager.uninstall()
    if as_json:
        render.answer_json({"path": str(manager.path), "user": user, "changed": gone})
    else:
        render.out(f"{manager.path} {'removed' if gone else 'was not there'}")


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show where the unit is installed, and what systemd says of each deployment.

    Example: launchpad systemd status
    """
    from launchpad.supervise import systemd

    world = World()
    answer = []
    for manager in systemd.managers(world.environ):
        installed = manager.text() is not None
        state = manager.state()
        serves = manager.runs and state == world.store.root
        views = _instances(world, manager) if serves else ()
        answer.append((manager, installed, state, serves, views))
    if as_json:
        render.answer_json([_json(*item) for item in answer])
        return
    for manager, installed, state, serves, views in answer:
        whose = "user" if manager.user else "system"
        if not installed:
            render.out(f"{whose}: not installed (launchpad systemd install{manager.flag})")
            continue
        word = "serves here" if serves else "systemd does not run" if not manager.runs else "another state directory"
        render.out(f"{whose}: {manager.path}, state in {state}: {word}")
        if views:
            rows = [
                (view.name, "yes" if view.enabled else "no", f"{view.active} ({view.sub})", view.says) for view in views
            ]
            render.out(render.table(rows, ("NAME", "ENABLED", "UNIT", "")))


def enable(
    name: Annotated[str, typer.Argument(help="Deployment to bring up at boot.", autocompletion=complete.deployments)],
    as_json: JsonOption = False,
) -> None:
    """Have a deployment come up again at every boot, as it was brought up last.

    `up` and `down` still say whether it is wanted: one that is down stays down.

    Example: sudo launchpad enable v4-flash-sglang-tp4
    """
    world = World()
    manager, changed = _enable(world, name, wanted=True)
    remarks = []
    if not _wanted(world, name):
        remarks.append(f"it is down now, and stays so until: launchpad up {name}")
    elif (pid := world.store.deployment(name).supervisor_pid()) and not _under(manager, name, pid):
        remarks.append(f"supervisor {pid} goes on outside {manager.unit(name)}, which takes over at the next boot")
    remarks += _linger(world, manager)
    _said(manager, name, changed=changed, remarks=remarks, word="comes up at every boot", as_json=as_json)


def disable(
    name: Annotated[str, typer.Argument(help="Deployment to leave alone.", autocompletion=complete.deployments)],
    as_json: JsonOption = False,
) -> None:
    """Have a deployment no longer come up at boot. What runs goes on.

    Example: sudo launchpad disable v4-flash-sglang-tp4
    """
    manager, changed = _enable(World(), name, wanted=False)
    _said(manager, name, changed=changed, remarks=[], word="no longer comes up at boot", as_json=as_json)


def _enable(world: World, name: str, *, wanted: bool) -> tuple[ServiceManager, bool]:
    world.store.known(name)
    manager = _serving(world, f"{'enable' if wanted else 'disable'} {name}")
    return manager, manager.enable(name, wanted=wanted)


def _serving(world: World, doing: str) -> ServiceManager:
    """The manager that has our unit; raises with the command that installs it."""
    from launchpad.errors import LaunchpadError
    from launchpad.supervise import systemd

    candidates = systemd.managers(world.environ)
    found = systemd.serving(world.store.root, candidates)
    if found is not None:
        return found
    command = "sudo launchpad systemd install" if os.geteuid() == 0 else "launchpad systemd install --user"
    elsewhere = next((item for item in candidates if item.state() is not None), None)
    if elsewhere is None:
        raise LaunchpadError(f"cannot {doing}: the systemd unit is not installed", hint=command)
    if elsewhere.state() != world.store.root:
        cause = f"{elsewhere.path} keeps its state in {elsewhere.state()}, and this is {world.store.root}"
        raise LaunchpadError(f"cannot {doing}: {cause}", hint=f"export LAUNCHPAD_STATE_DIR={elsewhere.state()}")
    raise LaunchpadError(f"cannot {doing}: systemd does not run here", hint="ps -p 1 -o comm=")


def _said(manager: ServiceManager, name: str, *, changed: bool, remarks: list[str], word: str, as_json: bool) -> None:
    if as_json:
        render.answer_json({"name": name, "unit": manager.unit(name), "changed": changed, "remarks": remarks})
        return
    for remark in remarks:
        render.say(f"  {remark}")
    render.out(f"{name} {word}{'' if changed else ', as before'} ({manager.unit(name)})")


def _manager(world: World, *, user: bool) -> ServiceManager:
    from launchpad.supervise import systemd

    return next(item for item in systemd.managers(world.environ) if item.user is user)


def _instances(world: World, manager: ServiceManager) -> tuple[UnitView, ...]:
    """What the manager says of our deployments; nothing where it does not run."""
    if not manager.runs:
        return ()
    return manager.show([deployment.name for deployment in world.store.deployments()])


def _json(
    manager: ServiceManager, installed: bool, state: Path | None, serves: bool, views: tuple[UnitView, ...]
) -> dict[str, object]:
    return {
        "scope": "user" if manager.user else "system",
        "path": str(manager.path),
        "installed": installed,
        "running": manager.runs,
        "state_dir": str(state) if state else None,
        "serves": serves,
        "units": [
            {
                "name": view.name,
                "unit": manager.unit(view.name),
                "enabled": view.enabled,
                "active": view.active,
                "sub": view.sub,
                "result": view.result,
                "pid": view.pid,
                "restarts": view.restarts,
                "status": view.says,
            }
            for view in views
        ],
    }


def _owner(folder: Path) -> int | None:
    try:
        return folder.stat().st_uid
    except OSError:
        return None


def _wanted(world: World, name: str) -> bool:
    from launchpad.cli import launch

    asked = launch.last_wanted(world, name)
    return asked is not None and asked.wanted


def _under(manager: ServiceManager, name: str, pid: int) -> bool:
    from launchpad.supervise import systemd

    return systemd.unit_of(pid) == manager.unit(name)


def _linger(world: World, manager: ServiceManager) -> list[str]:
    """What a user's manager needs besides to outlive the login."""
    from launchpad.supervise import systemd

    if not manager.user or systemd.lingers(world.environ):
        return []
    return ["it starts at boot, and outlives your login, only with: loginctl enable-linger"]

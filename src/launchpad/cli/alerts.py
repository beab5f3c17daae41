"""``alerts``: who is told when something goes wrong, and whether telling them works."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launchpad.cli import render
from launchpad.cli.world import World
from launchpad.errors import EXIT_USER

if TYPE_CHECKING:
    from launchpad.supervise.alerts_config import Webhook

app = typer.Typer(
    name="alerts",
    help="List the configured alert webhooks, and send each a test message.\n\nExample: launchpad alerts test",
    no_args_is_help=True,
)

_EXAMPLE = """[[alerts.webhook]]
url_from_env = "LAUNCHPAD_WEBHOOK_URL"
kinds = ["failed", "crash-loop", "gpu-fault"]"""


@app.command("list")
def show(as_json: Annotated[bool, typer.Option("--json", help="One object.")] = False) -> None:
    """List the webhooks, what each is told, and the rules. Of a URL only scheme and host are shown: the rest may be a secret.

    Example: launchpad alerts list --json
    """
    from launchpad.supervise.alerts_config import KINDS, config_path, rules_text

    world = World()
    path = config_path(world.environ, uid=os.geteuid(), home=Path.home())
    config = world.alerts_config()
    if as_json:
        render.answer_json(
            {
                "config": str(path) if path else None,
                "webhooks": [_view(hook) for hook in config.webhooks],
                "problems": list(config.problems),
                "crash_loop": {"crashes": config.crashes, "within_s": config.within.total_seconds()},
                "min_interval_s": config.min_interval.total_seconds(),
            }
        )
        return
    if config.webhooks:
        rows = [(str(hook.number), hook.where, _kinds(hook, len(KINDS)), _headers(hook)) for hook in config.webhooks]
        render.out(render.table(rows, ("#", "WEBHOOK", "KINDS", "HEADERS")))
        render.out(rules_text(config))
    else:
        where = path or "/etc/launchpad/launchpad.toml, or ~/.config/launchpad/launchpad.toml"
        render.out(f"no webhook is told anything; write into {where}, for example:\n\n{_EXAMPLE}")
    for problem in config.problems:
        render.say(f"off: {problem}")


@app.command("test")
def send_test(
    as_json: Annotated[bool, typer.Option("--json", help="One object a webhook, as a list.")] = False,
) -> None:
    """Send each webhook one test message, once, and say what it answered. Exit code 1 where one did not take it.

    Example: launchpad alerts test
    """
    import json

    from launchpad.errors import LaunchpadError
    from launchpad.health.post import post
    from launchpad.supervise.alerts_desk import trial_message

    world = World()
    config = world.alerts_config()
    if not config.webhooks and not config.problems:
        raise LaunchpadError("cannot test the alerts: no webhook is configured", hint="launchpad alerts list")
    body = json.dumps(trial_message(world.host, world.clock.now()).as_json()).encode()
    answers = []
    for hook in config.webhooks:
        posted = post(hook.url, body, dict(hook.headers), 10.0)
        taken = posted.status is not None and 200 <= posted.status < 300
        answers.append({**_view(hook), "taken": taken, "status": posted.status, "problem": posted.problem})
    if as_json:
        render.answer_json(answers)
    else:
        for answer in answers:
            said = f"answered {answer['status']}" if answer["status"] is not None else answer["problem"]
            render.out(f"{'took it' if answer['taken'] else 'REFUSED'}  {answer['webhook']}  {said}")
    for problem in config.problems:
        render.say(f"off: {problem}")
    if config.problems or not all(answer["taken"] for answer in answers):
        raise typer.Exit(EXIT_USER)


def _view(hook: Webhook) -> dict[str, Any]:
    return {
        "number": hook.number,
        "webhook": hook.where,
        "kinds": sorted(hook.kinds),
        "headers": sorted(name for name, _ in hook.headers),
    }


def _kinds(hook: Webhook, all_of_them: int) -> str:
    return "all" if len(hook.kinds) == all_of_them else ", ".join(sorted(hook.kinds))


def _headers(hook: Webhook) -> str:
    return ", ".join(sorted(name for name, _ in hook.headers)) or "-"

"""The ``launchpad`` command: its list of commands, and the one place where errors become words and exit codes.

``main`` knows every command and nothing of what they do. Imports are kept thin on purpose: ``launchpad --help`` should cost little
more than Typer itself.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from launchpad import __version__
from launchpad.cli import logs, plan, profiles, render, status, supervise, up
from launchpad.errors import EXIT_USER, LaunchpadError

app = typer.Typer(
    name="launchpad",
    no_args_is_help=True,
    rich_markup_mode=None,  # Rich would double the time of --help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 ok, 1 you can mend it, 2 usage, 3 would not stay up, 4 blocked by a hazard, 130 Ctrl-C.",
)


def _version(wanted: bool) -> None:
    if wanted:
        render.out(f"launchpad {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Launch and supervise LLM inference servers on a GPU rig.

    A profile says what you want: `launchpad profiles list`. `launchpad plan NAME` shows what it takes, `launchpad up NAME`
    makes it so, a supervisor keeps it so. No GPU at hand? `launchpad rehearse NAME` plays all of it with a stand-in engine.

    DOCKER_HOST, LAUNCHPAD_STATE_DIR and LAUNCHPAD_PROFILES (a path list) say where to look.
    """


app.command("up")(up.up)
app.command("plan")(plan.plan)
app.command("render")(plan.show)
app.command("rehearse")(up.rehearse)
app.command("status")(status.status)
app.command("logs")(logs.logs)
app.command("events")(logs.events)
app.command("restart")(up.restart)
app.command("down")(up.down)
app.command("supervise")(supervise.supervise)
app.add_typer(profiles.app)


def main() -> None:
    """Run the command line. A LaunchpadError becomes its message, its hint and its exit code; a bug keeps its traceback."""
    try:
        app()
    except LaunchpadError as error:
        render.error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; keep Python from complaining while it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_USER)

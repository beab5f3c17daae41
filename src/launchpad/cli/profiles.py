"""``profiles``: what can be brought up, and whether it reads well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from launchpad.cli import complete, render
from launchpad.cli.world import World

if TYPE_CHECKING:
    from launchpad.profiles.catalog import Entry

app = typer.Typer(
    name="profiles",
    help="List, show and check profiles.\n\nExample: launchpad profiles show v4-flash-sglang-tp4",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False) -> None:
    """List every profile that `up` knows; your own win over the shipped ones.

    Example: launchpad profiles list
    """
    entries = World().profiles.entries()
    if as_json:
        render.answer_json([_entry_json(entry) for entry in entries])
        return
    rows = [
        (
            entry.name,
            entry.engine or "-",
            "shipped" if entry.shipped else "yours",
            entry.standing["status"] if entry.standing else "-",
            entry.summary or f"does not read: {entry.error}",
        )
        for entry in entries
    ]
    render.out(render.table(rows, ("NAME", "ENGINE", "FROM", "STATUS", "SUMMARY")))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Profile name, EXAMPLE, or a path.", autocompletion=complete.profiles)],
    as_json: Annotated[bool, typer.Option("--json", help="The merged profile as JSON.")] = False,
) -> None:
    """Show a profile: its files as written, base first, and how far the whole was proven; or merged, as JSON.

    Examples: launchpad profiles show v4-flash-sglang-tp4 | launchpad profiles show EXAMPLE
    """
    catalog = World().profiles
    if as_json:
        render.answer_json(catalog.load(name).profile.model_dump(mode="json", exclude_none=True))
        return
    from launchpad.deploy.spec import standing_of

    loaded = catalog.load(name)
    for path in loaded.layers:
        render.say(f"# {path}")
        render.out(path.read_text().rstrip())
    render.say(f"# status: {render.standing(standing_of(loaded.profile))}")


@app.command()
def check(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Files, directories or names; everything without them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The problems as a JSON list.")] = False,
) -> None:
    """Check profiles and print every problem as file:line: key: what is wrong, what would be right. Exit code 1 if any.

    Examples: launchpad profiles check | launchpad profiles check ./mine.toml
    """
    problems = World().profiles.check(paths or ())
    if as_json:
        render.answer_json(problems)
    else:
        for problem in problems:
            render.out(problem)
        if not problems:
            render.say("no problems")
    raise typer.Exit(1 if problems else 0)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a profile, for editors that complete and check TOML.

    Example: launchpad profiles schema > launchpad.schema.json
    """
    from launchpad.profiles.catalog import json_schema

    render.answer_json(json_schema())


def _entry_json(entry: Entry) -> dict[str, object]:
    return {
        "name": entry.name,
        "path": str(entry.path),
        "shipped": entry.shipped,
        "summary": entry.summary,
        "engine": entry.engine,
        "standing": dict(entry.standing) if entry.standing else None,
        "error": entry.error,
    }

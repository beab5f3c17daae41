"""``doctor``: will this come up and stay up, and if not, what exactly is wrong and what to type.

Only ``--deep`` starts anything, and says so first. Alone it looks at the rig, with a profile at the rig, the profile and its
image, with ``--log`` at what an engine said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from launchpad.cli import complete, render
from launchpad.cli.deep import Wanted
from launchpad.cli.world import World
from launchpad.deploy.spec import Spec
from launchpad.doctor.finding import Finding
from launchpad.rig.facts import RigFacts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from launchpad.cli.launch import Wish
    from launchpad.doctor.case import Case
    from launchpad.errors import LaunchpadError
    from launchpad.runtime.base import Runtime

#: What ships as data, in words.
_SCHEMAS = "SGLang 0.5.12 to 0.5.23 and vLLM 0.20.2 to 0.33.0"
#: First parts of the ids of findings that are no hazard rules: checks of this machine, flags, active checks.
_SUBJECTS = frozenset({"deep", "docker", "flags", "host", "model", "publish", "rig", "secret"})

#: Stories that a rig without a seat points to, and the template whose images run on SM120 alone.
_BEFORE_HOPPER, _FORK, _FORK_TEMPLATE = "model.v4-before-hopper", "fork.brittle", "vllm-sm120-fork"
#: The rule that is told even where there is no seat.
_TRTLLM_SM120 = "trtllm.sm120"

#: What ``--explain`` takes in the place of an id to list them; no id is without a dot.
_ALL = "all"
#: How many ids a typo is answered with, and the fewest letters that are looked for inside of them.
_MOST_NEAR, _LEAST_PART = 3, 3
#: How like a typo (1: the same) an id must be to stand beside one that is nearer.
_ALIKE = 0.8

Form = Literal["text", "json", "sarif", "junit"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was looked at, what was found, and what could not be looked at."""

    subject: str
    facts: RigFacts | None
    findings: tuple[Finding, ...]
    unseen: tuple[str, ...] = ()
    spec: Spec | None = None


def doctor(
    name: Annotated[
        str | None,
        typer.Argument(help="Profile to examine; the rig alone without it.", autocompletion=complete.profiles),
    ] = None,
    profile: Annotated[str | None, typer.Option(help="The same as NAME.", autocompletion=complete.profiles)] = None,
    rig: Annotated[
        str | None, typer.Option(help="Recorded rig instead of this one.", autocompletion=complete.rigs)
    ] = None,
    image_schema: Annotated[
        str | None, typer.Option(help="Engine version whose flags count, where the image is not here (0.5.23).")
    ] = None,
    log: Annotated[str | None, typer.Option(help="Explain an engine's log file instead.")] = None,
    explain: Annotated[
        str | None,
        typer.Option(
            help="Tell all about one hazard, by id; 'all' lists the ids.", metavar="ID", autocompletion=complete.hazards
        ),
    ] = None,
    record: Annotated[str | None, typer.Option(help="Write this rig as a recorded rig to a file.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only these hazards: an id or its first part; repeatable.")
    ] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Not these hazards; repeatable.")] = None,
    form: Annotated[Form, typer.Option("--format", help="text, json, sarif or junit.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Try it: run active checks in containers on the GPUs.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --deep: do not ask before each check.")] = False,
    deep_only: Annotated[
        list[str] | None, typer.Option(help="With --deep: only these, such as all-reduce; repeatable.")
    ] = None,
    deep_seconds: Annotated[float, typer.Option(help="With --deep: how long the power check loads the GPUs.")] = 60.0,
    image: Annotated[str | None, typer.Option(help="With --deep: run the checks in this image.")] = None,
) -> None:
    """Find what would keep a profile from coming up and staying up, before the load does; starts nothing.

    With --deep it tries: active checks in containers on the GPUs, each told first. Exit code 0: nothing blocks. 1: something to
    mend, or the rig cannot be surveyed. 4: a known hazard blocks.

    Examples: launchpad doctor | launchpad doctor v4-flash-sglang-tp4 --rig 4x-rtx-pro-6000 | launchpad doctor --log server.log
    """
    from launchpad.doctor.finding import exit_code

    world = World()
    if explain is not None:
        _explain(explain)
        return
    if record is not None:
        if rig is not None:
            raise typer.BadParameter("records this rig, so --rig does not go with it", param_hint="--record")
        _record(world, Path(record))
        return
    if log is not None:
        found = _of_log(Path(log))
    elif (wanted := name or profile) is not None:
        found = _of_profile(world, wanted, rig, image_schema)
    elif image_schema is not None:
        raise typer.BadParameter("goes with a profile, whose flags it is", param_hint="--image-schema")
    else:
        found = _of_rig(world, rig)
    if deep:
        found = _deepened(world, found, Wanted(yes, tuple(deep_only or ()), deep_seconds, image))
    _refuse_unknown((*(only or ()), *(skip or ())))
    found = replace(found, findings=_chosen(found.findings, only or (), skip or ()))
    _show(found, "json" if as_json else form)
    raise typer.Exit(exit_code(found.findings))


def _of_log(path: Path) -> Diagnosis:
    from launchpad.doctor.finding import worst_first
    from launchpad.doctor.logfile import explain_log
    from launchpad.units import show_bytes

    explained = explain_log(path)
    left = (f"{show_bytes(explained.unread_bytes)} in the middle of {path}",) if explained.unread_bytes else ()
    return Diagnosis(str(path), None, worst_first(explained.findings), left)


def _of_rig(world: World, rig: str | None) -> Diagnosis:
    from launchpad.cli import launch
    from launchpad.doctor.case import Case

    runtime, unseen = _runtime(world)
    facts = launch.here(world, world.facts(rig), runtime)
    found = _examine(Case(facts)) if facts.gpus is not None else _no_survey(facts)
    return Diagnosis(rig or "this rig", facts, found, (*(unseen if rig is None else ()), *_unseen(facts)))


def _of_profile(world: World, name: str, rig: str | None, image_schema: str | None) -> Diagnosis:
    """Examine as ``up`` would; a rig that cannot seat the profile is a finding, and the rig is examined all the same."""
    from launchpad.cli import launch
    from launchpad.doctor.case import Case
    from launchpad.doctor.finding import worst_first
    from launchpad.engines.schemas import EngineName
    from launchpad.errors import LaunchpadError, NotFoundError, ProfileError

    wish = launch.load(world, name, rig=rig)
    judged = wish.loaded.profile.engine in get_args(EngineName)
    if image_schema is not None and not judged:
        raise NotFoundError(
            f"cannot check flags of {wish.name} against {image_schema}: no schema of engine {wish.loaded.profile.engine} ships",
            hint=f"leave out --image-schema; what ships: {_SCHEMAS}",
        )
    runtime, unseen = (world.runtime_for(hosted=True), ()) if wish.hosted else _runtime(world)
    try:
        drawn = launch.draft(world, wish, runtime, image_schema=image_schema)
    except (NotFoundError, ProfileError):
        raise
    except LaunchpadError as error:
        found = (_unseated(wish, error), *_no_trtllm_there(wish), *_examine(Case(wish.facts)))
        return Diagnosis(str(wish.loaded.path), wish.facts, worst_first(found), unseen)
    if runtime is not None and drawn.found.image is None and not wish.hosted:
        unseen = (*unseen, f"inside image {drawn.spec.own_image.reference}: it is not on this Docker Engine")
    if drawn.flags_of is None and drawn.spec.engine not in {"generic", "hosted"}:
        why = f"it is not known which {drawn.spec.engine} release reads them; --image-schema names one"
        unseen = (*unseen, f"flags: {why if judged else f'no schema of engine {drawn.spec.engine} ships'}")
    unseen = (*unseen, *_unseen(wish.facts))
    return Diagnosis(str(wish.loaded.path), wish.facts, drawn.findings, unseen, drawn.spec)


def _unseated(wish: Wish, error: LaunchpadError) -> Finding:
    """Why there is no seat, and where nobody's profile would help: cards that the model or the fork has no kernels for.

    The rules need a seat and were not asked; their stories are pointed to.
    """
    from launchpad.doctor.case import SM120

    profile, message, hints = wish.loaded.profile, error.message, [error.hint] if error.hint else []
    known = [gpu.compute_capability for gpu in wish.facts.gpus or () if gpu.compute_capability is not None]
    build = profile.image.build if profile.image is not None else None
    if known and max(known) < (9, 0) and profile.engine in {"sglang", "vllm"} and _family(wish) == "deepseek_v4":
        hints.append(f"why not on cards before Hopper: launchpad doctor --explain {_BEFORE_HOPPER}")
    if build is not None and build.template == _FORK_TEMPLATE and known and SM120 not in known:
        message += "; its image is built from the SM120 fork of vLLM, which is for SM120 cards only"
        hints.append(f"more of it: launchpad doctor --explain {_FORK}")
    return Finding("rig.cannot-place", "blocks", message, "; ".join(hints) or None)


def _no_trtllm_there(wish: Wish) -> Iterator[Finding]:
    """DeepSeek V4 with TensorRT-LLM where all cards are SM120's family: more of them, or larger ones, would not help."""
    from launchpad.doctor.case import SM120
    from launchpad.doctor.rules import RULES

    profile = wish.loaded.profile
    runs = profile.dynamo.worker if profile.dynamo is not None else profile.engine
    here = {gpu.compute_capability for gpu in wish.facts.gpus or () if gpu.compute_capability is not None}
    meant = [f"SM{major}{minor}" for major, minor in sorted(here)]
    if runs != "trtllm" or {major for major, _ in here} != {SM120[0]} or _family(wish) != "deepseek_v4":
        return
    for rule in RULES:
        if rule.id == _TRTLLM_SM120:
            yield Finding(
                rule.id,
                rule.severity,
                f"{wish.name} serves DeepSeek V4 with TensorRT-LLM, which has no attention kernel for {' and '.join(meant)}",
                "serve it with SGLang or vLLM, by a profile for these cards: launchpad profiles list",
                source=rule.source,
                as_of=rule.as_of,
                hazard=True,
            )


def _family(wish: Wish) -> str | None:
    """The model's family where there is no spec to ask: by config.json where it lies here, else by the profile's own words."""
    from launchpad.cli import launch
    from launchpad.engines.reasoning import family_of

    profile = wish.loaded.profile
    serving, checkpoint = profile.serving, launch.checkpoint_of(wish)
    if checkpoint is not None and checkpoint.config.model_type:
        return checkpoint.config.model_type
    arguments = (str(value) for value in profile.engine_args.values())
    return family_of((*profile.model.names, serving.reasoning_parser, serving.tool_call_parser, *arguments))


def _deepened(world: World, found: Diagnosis, wanted: Wanted) -> Diagnosis:
    """What active checks add; raises LaunchpadError where there is nothing to run them on."""
    from launchpad.cli.deep import deepen
    from launchpad.doctor.finding import worst_first
    from launchpad.errors import LaunchpadError

    if found.facts is None:
        raise LaunchpadError("cannot run active checks on a log", hint="leave out --log, or --deep")
    for item in found.findings:
        if item.id in {"rig.cannot-place", "rig.no-survey"}:
            raise LaunchpadError(item.message, hint=item.hint)
    more, not_run = deepen(world, found.facts, found.spec, wanted)
    return replace(found, findings=worst_first((*found.findings, *more)), unseen=(*found.unseen, *not_run))


def _runtime(world: World) -> tuple[Runtime | None, tuple[str, ...]]:
    from launchpad.errors import RuntimeUnavailable

    try:
        world.runtime.info()
    except RuntimeUnavailable as error:
        return None, (f"containers and images: {error.message}",)
    return world.runtime, ()


def _examine(case: Case) -> tuple[Finding, ...]:
    from launchpad.doctor.rule import examine
    from launchpad.doctor.rules import RULES

    return examine(case, RULES)


def _no_survey(facts: RigFacts) -> tuple[Finding, ...]:
    from launchpad.doctor.finding import Finding

    why = facts.gpu_problem or "no reason given"
    return (
        Finding(
            "rig.no-survey", "blocks", f"cannot survey this rig: {why}", "nvidia-smi shows the same; mend the driver"
        ),
    )


def _unseen(facts: RigFacts) -> tuple[str, ...]:
    """What this rig does not tell, in words."""
    told = {
        "IOMMU mode": facts.iommu,
        "PCIe access control": facts.acs_redirect,
        "GPU links": facts.links,
        "driver flavour": facts.driver_open,
    }
    silent = [name for name, value in told.items() if value is None]
    return (f"{', '.join(silent)}: unknown on this rig",) if silent and facts.gpus else ()


def _refuse_unknown(names: Iterable[str]) -> None:
    """A name that no finding can ever have would hide everything, in silence."""
    from launchpad.deploy.drift import IDS
    from launchpad.doctor.explained import EXPLAINED
    from launchpad.doctor.rules import RULES

    told = {*(rule.id for rule in RULES), *EXPLAINED, *IDS}
    known = {*told, *(id_.split(".", 1)[0] for id_ in told), *_SUBJECTS}
    for name in names:
        if name not in known and name.split(".", 1)[0] not in _SUBJECTS:
            close = _near(name, known)
            hint = f"did you mean {close}?" if close else f"subjects: {', '.join(sorted(_SUBJECTS))}"
            raise typer.BadParameter(f"{name} is no hazard; {hint}", param_hint="--only/--skip")


def _chosen(
    findings: tuple[Finding, ...], only: list[str] | tuple[()], skip: list[str] | tuple[()]
) -> tuple[Finding, ...]:
    def named(finding: Finding, names: list[str] | tuple[()]) -> bool:
        return finding.id in names or finding.id.split(".", 1)[0] in names

    return tuple(item for item in findings if (not only or named(item, only)) and not named(item, skip))


def _show(found: Diagnosis, form: Form) -> None:
    from launchpad import __version__
    from launchpad.doctor import report

    match form:
        case "json":
            render.answer_json(_json(found))
        case "sarif":
            render.answer_json(report.sarif(found.findings, version=__version__, subject=found.subject))
        case "junit":
            render.out(report.junit(found.findings, subject=found.subject))
        case "text":
            render.out(render.diagnosis(found.subject, found.facts, found.findings, found.unseen))


def _json(found: Diagnosis) -> dict[str, Any]:
    from launchpad.store.files import builtins

    return {
        "subject": found.subject,
        "findings": [render.finding_json(finding) for finding in found.findings],
        "blocked": any(finding.severity == "blocks" for finding in found.findings),
        "unseen": list(found.unseen),
        "rig": builtins(found.facts) if found.facts is not None else None,
    }


def _explain(name: str) -> None:
    """One finding, whole: a check, a rule that is looked for before a launch, a line that explains a crash, or several of them."""
    from launchpad.deploy.drift import IDS
    from launchpad.doctor.explained import EXPLAINED
    from launchpad.doctor.hazards import SIGNATURES
    from launchpad.doctor.rules import RULES
    from launchpad.engines.flags import ProblemKind
    from launchpad.errors import NotFoundError

    if name == _ALL:
        _list_all()
        return
    if name in IDS:
        render.out(
            f"{name}  (drift from a lock)\nWhat the profile's lock pins is no longer what is there: {IDS[name]}.\n"
        )
        render.out(
            "fix       put it back, or launchpad lock NAME takes what is there; launchpad verify NAME tells all drifts"
        )
        return
    if name.startswith("flags.") and name.removeprefix("flags.") in get_args(ProblemKind):
        render.out(
            f"{name}  (flag lint)\nThe command is read as the parser of the image's own engine release would read it; the finding"
            " names the word.\n\nfix       what the finding's own hint says; launchpad doctor NAME --image-schema VERSION tries"
            f" another release\nsource    argument schemas of {_SCHEMAS}, extracted from their wheels"
        )
        return
    check = EXPLAINED.get(name)
    rules = [rule for rule in RULES if rule.id == name]
    rows = [row for row in SIGNATURES if row.id == name]
    if check is None and not rules and not rows:
        close, listed = _near(name, _titles()), f"launchpad doctor --explain {_ALL}"
        raise NotFoundError(
            f"cannot explain {name[:100]}: there is no such hazard",
            hint=f"did you mean {close}? {listed} lists all" if close else f"{listed} lists them",
        )
    if check is not None:
        render.out(f"{name}  (check)\n{check.story}\n\nfix       {check.fix}")
    for rule in rules:
        story = f"{rule.explain}\n\n" if rule.explain else ""
        render.out(f"{rule.id}  ({rule.severity})\n{rule.title}\n\n{story}versions  {rule.versions}")
        render.out(f"fix       {rule.hint}\n{_known(rule.basis, rule.as_of, rule.source)}")
    for row in rows:
        render.out(f"{row.id}  (log, {row.verdict})\n{row.message}\n\nline      {row.pattern.pattern}")
        render.out(f"fix       {row.hint}\n{_known(row.basis, row.as_of, row.source)}")


def _titles() -> dict[str, str]:
    """What ``--explain`` knows: every id, and what it is about in a few words."""
    from launchpad.deploy.drift import IDS
    from launchpad.doctor.explained import EXPLAINED
    from launchpad.doctor.hazards import SIGNATURES
    from launchpad.doctor.rules import RULES
    from launchpad.engines.flags import ProblemKind

    return {
        **{f"flags.{kind}": "flag lint" for kind in get_args(ProblemKind)},
        **{id_: f"drift from a lock: {what}" for id_, what in IDS.items()},
        **{id_: check.story.partition(". ")[0].rstrip(".") for id_, check in EXPLAINED.items()},
        **{row.id: row.message for row in SIGNATURES},
        **{rule.id: rule.title for rule in RULES},
    }


def _list_all() -> None:
    titles = _titles()
    width = max(map(len, titles))
    render.out("\n".join(f"{id_:<{width}}  {titles[id_]}" for id_ in sorted(titles)))


def _near(name: str, known: Iterable[str]) -> str | None:
    """The ids that ``name`` may mean, nearest first, three at most; None where none is like it.

    An id is two parts, and people remember one: what holds ``name`` comes first, and a part's likeness counts after the whole's.
    """
    import difflib

    ids, written = sorted(known), name[:64].lower()
    holding = [id_ for id_ in ids if written in id_] if len(written) >= _LEAST_PART else []
    close = sorted(holding, key=lambda id_: written not in id_.split("."))[:_MOST_NEAR]
    if not close:
        alike = difflib.get_close_matches(written, ids, n=_MOST_NEAR, cutoff=_ALIKE)
        close = alike or difflib.get_close_matches(written, ids, n=1)
    if not close:
        last = {id_.rpartition(".")[2]: id_ for id_ in reversed(ids)}
        close = [last[part] for part in difflib.get_close_matches(written.rpartition(".")[2], last, n=_MOST_NEAR)]
    return " or ".join(close) or None


def _known(basis: str, as_of: str, source: str) -> str:
    return f"known     {basis}, as of {as_of}\nsource    {source}"


def _record(world: World, path: Path) -> None:
    from launchpad.errors import LaunchpadError
    from launchpad.rig.record import record

    text = record(world.facts(None))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise LaunchpadError(
            f"cannot write {path}: {error.strerror or error}",
            hint="name a file that does not exist yet, in a folder you can write",
        ) from error
    render.say(f"recorded; use it as: launchpad plan NAME --rig {path.stem}, from a rigs/ folder beside your profiles")

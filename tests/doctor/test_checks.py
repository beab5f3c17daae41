"""What is looked at before a start: every finding once seen and once spared, its words, and what a script is told."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from launchpad.deploy.claims import Claims
from launchpad.deploy.observe import Observed
from launchpad.deploy.spec import CacheChoice, RehearsalChoice, Spec
from launchpad.doctor.checks import Eyes, preflight
from launchpad.doctor.finding import Finding, exit_code, worst_first
from launchpad.model.checkpoint import Checkpoint, CheckpointError, ModelConfig, Shard, inspect_checkpoint
from launchpad.rehearse.deployment import rehearse
from launchpad.rig.facts import DiskFacts
from tests.deploy.specs import container, found, gpu, profile, rig, spec

if TYPE_CHECKING:
    from launchpad.rig.facts import RigFacts

PINNED = "sha256:" + "a" * 64
NOBODY = Claims({}, {})
WHOLE = Checkpoint(Path("/models/small"), ModelConfig(), (Shard("model.safetensors", "whole", 9, 9),), has_index=False)
TORN = Checkpoint(
    Path("/models/small"),
    ModelConfig(),
    (Shard("model-1.safetensors", "missing"), Shard("model-2.safetensors", "empty", 0)),
    has_index=True,
)


def calm(**changes: Any) -> Spec:
    """SMALL as nothing speaks against it, and what is changed."""
    return spec(profile(**{"image": {"digest": PINNED}, **changes}))


def eyes(
    port: str | None = None,
    model: Checkpoint | CheckpointError = WHOLE,
    environ: dict[str, str] | None = None,
    *,
    published: tuple[str, int] | None = None,
    room: int | None = None,
) -> Eyes:
    """Eyes that see what the test says."""

    def checkpoint(path: Path) -> Checkpoint:
        assert path == Path("/models/small")
        if isinstance(model, CheckpointError):
            raise model
        return model

    return Eyes(lambda *_: port, checkpoint, environ or {}, published, lambda: room)


def seen(
    made: Spec | None = None,
    *,
    facts: RigFacts | None = None,
    there: Observed | None = None,
    claims: Claims = NOBODY,
    looks: Eyes | None = None,
    on_paper: bool = False,
) -> tuple[Finding, ...]:
    """The findings on a spec, of SMALL where none is given."""
    return preflight(made or calm(), facts or rig(), there or found(), claims, None if on_paper else looks or eyes())


def ids(findings: tuple[Finding, ...]) -> list[str]:
    """Findings by id."""
    return [finding.id for finding in findings]


def test_nothing_speaks_against_a_sound_spec_on_a_sound_rig() -> None:
    assert seen() == ()


# -- each finding, seen ------------------------------------------------------------------------------------------------------

REHEARSED = rehearse(calm(), RehearsalChoice("4x-rtx-pro-6000", (), 1.0), None)
NIM = replace(calm(), cache=CacheChoice("weights-1", "weights", weights=True, weights_bytes=190_000_000_000))
MISSING = "/no/such/path/of/launchpad"
BARE_DIGEST = '{{index (split (index .RepoDigests 0) "@") 1}}'

HERE = ("127.0.0.1", 8000)
SEEN: dict[str, tuple[dict[str, Any], str, str, str | None]] = {
    "host.port-claimed": (
        {"claims": Claims({}, {("0.0.0.0", 8000): "other"})},
        "blocks",
        "cannot publish 127.0.0.1:8000: deployment other is published there",
        "launchpad down other, or set another publish.port in the profile",
    ),
    "host.port-in-use": (
        # ours runs, and is published elsewhere
        {"there": found(container(calm())), "looks": eyes(port="nginx (process 12)", published=("127.0.0.1", 7999))},
        "blocks",
        "cannot publish 127.0.0.1:8000: nginx (process 12) listens there",
        "end it (ss -ltnp 'sport = :8000' shows it), or set another publish.port in the profile",
    ),
    "docker.other-owner": (
        {"there": Observed(strangers=(container(calm(), owner="/elsewhere"),))},
        "blocks",
        "cannot use the name launchpad-small: a launchpad with another state directory made that container",
        "bring it down there, or: docker rm -f launchpad-small",
    ),
    "image.missing": (
        {"made": calm(image={"digest": PINNED, "pull": "never"}), "there": found(pulled=False)},
        "blocks",
        f"cannot start small: image lmsysorg/sglang@{PINNED} is not on this Docker Engine and image.pull is never",
        f'docker pull lmsysorg/sglang@{PINNED}, or docker load it, or set image.pull = "missing"',
    ),
    "image.not-pinned": (
        {"made": calm(image={"digest": None})},
        "informs",
        "image lmsysorg/sglang:v0.5.23 is pinned by tag only; the registry may move it",
        f"put its sha256:... under image.digest: docker image inspect --format '{BARE_DIGEST}' lmsysorg/sglang:v0.5.23",
    ),
    "host.no-room-for-weights": (
        {"made": NIM, "there": found(cache=False), "looks": eyes(room=100 * 2**30)},
        "blocks",
        "cannot fetch the weights of small into volume weights-1: up to 177.0 GiB are to come and 100.0 GiB are free",
        "free some where Docker keeps its volumes (docker system df), or move Docker's data-root to a larger disk",
    ),
    "secret.missing": (
        {"made": calm(secrets={"HF_TOKEN": {"from_env": "MY_TOKEN"}})},
        "blocks",
        "cannot start small: secret HF_TOKEN has no value: environment variable MY_TOKEN is not set",
        "export MY_TOKEN=...",
    ),
    "publish.not-loopback": (
        {"made": calm(publish={"host": "0.0.0.0"})},
        "warns",
        "small will answer on 0.0.0.0:8000 without a password, to anybody who reaches this rig",
        'put a proxy with TLS and keys before it, or set publish.host = "127.0.0.1" and use ssh -L',
    ),
    "power.over-budget": (
        {"made": calm(power={"budget_w": 1000})},
        "warns",
        "the GPUs of small may draw 1200 W together, power.budget_w is 1000 W",
        "sudo nvidia-smi -i 0,1 -pl 500",
    ),
    "power.unknown": (
        {"made": calm(power={"budget_w": 1000}), "facts": rig(gpu(0), gpu(1, power_limit_w=None))},
        "informs",
        "the power limits of small's GPUs are unknown",
        None,
    ),
    "model.unreadable": (
        {
            "looks": eyes(
                model=CheckpointError("cannot read /models/small: there is no such directory", hint="ls /models")
            )
        },
        "blocks",
        "cannot read /models/small: there is no such directory",
        "ls /models",
    ),
    "model.incomplete": (
        {"looks": eyes(model=TORN)},
        "blocks",
        "cannot serve /models/small: model-1.safetensors is missing (and 1 more)",
        "fetch what is missing: hf download REPO --local-dir /models/small",
    ),
    "host.mount-missing": (
        {"made": calm(mounts=[{"source": MISSING, "target": "/data"}])},
        "blocks",
        f"cannot mount {MISSING} into launchpad-small: there is no such path",
        f"mkdir -p {MISSING}, or correct mounts in the profile",
    ),
}


@pytest.mark.parametrize("id_", SEEN)
def test_what_speaks_against_a_start_is_said_with_the_fix(id_: str) -> None:
    given, severity, message, hint = SEEN[id_]
    (finding,) = seen(**given)

    assert (finding.id, finding.severity, finding.message, finding.hint) == (id_, severity, message, hint)


# -- files that no container sees ---------------------------------------------------------------------------------------------


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A hub cache's snapshot: links, all of them, to blobs beside it."""
    folder = tmp_path / "models--a--b" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (tmp_path / "models--a--b" / "blobs").mkdir()
    for name, text in (("config.json", b"{}"), ("model.safetensors", (2).to_bytes(8, "little") + b"{}")):
        (tmp_path / "models--a--b" / "blobs" / name).write_bytes(text)
        (folder / name).symlink_to(f"../../blobs/{name}")
    return folder


def read(made: Spec) -> tuple[Finding, ...]:
    """The findings on a spec whose model lies on this machine."""
    return seen(made, looks=Eyes(lambda *_: None, inspect_checkpoint, {}))


def test_a_hubs_snapshot_is_links_to_what_the_container_does_not_see(snapshot: Path, tmp_path: Path) -> None:
    (finding,) = read(calm(model={"path": str(snapshot)}))

    assert (finding.id, finding.severity) == ("model.outside-mount", "blocks")
    assert finding.message == (
        f"cannot read config.json of {snapshot} in launchpad-small: it is a link out of that folder, and the container sees "
        "nothing at /blobs/config.json (and 1 more)"
    )
    assert finding.hint == (
        f"cp -rlL {snapshot} {tmp_path}/b-whole (hard links; to another disk: cp -rL), and set model.path to the copy"
    )
    assert finding.evidence == "config.json -> /blobs/config.json; model.safetensors -> /blobs/model.safetensors"


def test_the_hinted_copy_has_nothing_against_it(snapshot: Path, tmp_path: Path) -> None:
    (finding,) = read(calm(model={"path": str(snapshot)}))
    subprocess.run((finding.hint or "").partition(" (")[0], shell=True, check=True)

    assert read(calm(model={"path": f"{tmp_path}/b-whole"})) == ()


def test_a_snapshot_whose_blobs_the_profile_mounts_is_read(snapshot: Path) -> None:
    blobs = {"source": str(snapshot.parent.parent / "blobs"), "target": "/blobs"}

    assert read(calm(model={"path": str(snapshot)}, mounts=[blobs])) == ()


def test_a_draft_model_of_links_is_told_by_its_own_key(snapshot: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "plain" / name).write_bytes((snapshot / name).read_bytes())
    drafted = {"method": "eagle", "draft_tokens": 2, "draft_model": str(snapshot)}
    (finding,) = read(calm(model={"path": str(tmp_path / "plain")}, speculative=drafted))

    assert finding.id == "model.outside-mount"
    assert (finding.hint or "").endswith("and set speculative.draft_model to the copy")


# -- each finding, spared ------------------------------------------------------------------------------------------------------

SPARED: list[tuple[str, dict[str, Any]]] = [
    ("another port of another deployment", {"claims": Claims({}, {("127.0.0.1", 8001): "other"})}),
    ("another address of another deployment", {"claims": Claims({}, {("10.1.2.3", 8000): "other"})}),
    ("a port that it holds itself", {"there": found(container(calm())), "looks": eyes("docker", published=HERE)}),
    ("an image that is not there and may be pulled", {"there": found(pulled=False)}),
    (
        "an image that is not there and is built here",
        {
            "made": calm(image={"digest": None, "pull": "never", "build": {"template": "demo"}}),
            "there": found(pulled=False),
        },
    ),
    ("an image that may not be pulled and is there", {"made": calm(image={"digest": PINNED, "pull": "never"})}),
    ("a secret that is set", {"made": calm(secrets={"T": {"from_env": "T"}}), "looks": eyes(environ={"T": "value"})}),
    ("room for the weights that are fetched", {"made": NIM, "there": found(cache=False), "looks": eyes(room=2**38)}),
    ("room that nobody can tell", {"made": NIM, "there": found(cache=False)}),
    ("weights that an earlier start began to fetch", {"made": NIM, "looks": eyes(room=0)}),
    ("a server that fetches no weights", {"there": found(cache=False), "looks": eyes(room=0)}),
    ("a secret that may be missing", {"made": calm(secrets={"T": {"from_env": "T", "required": False}})}),
    ("loopback in IPv6", {"made": calm(publish={"host": "::1"})}),
    ("a budget that is just enough", {"made": calm(power={"budget_w": 1200})}),
    ("a budget that the cap keeps", {"made": calm(power={"budget_w": 900, "cap_w": 450})}),
    ("a budget for a server without GPUs", {"made": calm(power={"budget_w": 1}, gpus=None, parallel=None)}),
    ("no budget and unknown limits", {"facts": rig(gpu(0, power_limit_w=None), gpu(1))}),
    (
        "a limit of a GPU that is not ours",
        {"made": calm(power={"budget_w": 1200}), "facts": rig(gpu(0), gpu(1), gpu(2, power_limit_w=None))},
    ),
    (
        "a model that this rig need not hold",
        {"made": calm(model={"path": None, "in_image": "/opt/m"}), "looks": eyes(model=TORN)},
    ),
    ("a mount that is there", {"made": calm(mounts=[{"source": "/tmp", "target": "/data"}])}),
    (
        "a rehearsal's model, mounts and GPUs",
        {"made": REHEARSED, "there": found(pulled=False), "looks": eyes(model=TORN)},
    ),
]  # fmt: skip


@pytest.mark.parametrize("given", [given for _, given in SPARED], ids=[name for name, _ in SPARED])
def test_spared_is(given: dict[str, Any]) -> None:
    assert seen(**given) == ()


def test_a_port_that_another_deployment_claims_is_told_once() -> None:
    claims = Claims({}, {("127.0.0.1", 8000): "other"})

    assert ids(seen(claims=claims, looks=eyes(port="docker-proxy (process 9)"))) == ["host.port-claimed"]


def test_a_rehearsal_needs_its_port_as_the_real_one_does() -> None:
    assert ids(seen(REHEARSED, looks=eyes(port="nginx (process 12)"))) == ["host.port-in-use"]


def test_on_paper_only_spec_and_facts_are_judged() -> None:
    made = calm(
        image={"digest": None},
        publish={"host": "0.0.0.0"},
        power={"budget_w": 1},
        mounts=[{"source": MISSING, "target": "/data"}],
        secrets={"T": {"from_env": "T"}},
    )

    assert ids(seen(made, on_paper=True)) == ["power.over-budget", "publish.not-loopback", "image.not-pinned"]


def test_on_paper_a_recorded_rigs_disk_is_what_weights_must_fit_on() -> None:
    facts = rig(disks=(DiskFacts("docker", None, 10 * 2**30),))

    assert ids(seen(NIM, facts=facts, there=found(cache=False), on_paper=True)) == ["host.no-room-for-weights"]


def test_every_problem_is_told_at_once_the_worst_first() -> None:
    made = calm(
        image={"digest": None}, publish={"host": "0.0.0.0"}, power={"budget_w": 1}, secrets={"T": {"from_env": "T"}}
    )

    assert ids(seen(made, looks=eyes(port="nginx (process 12)", model=TORN))) == [
        "host.port-in-use",
        "model.incomplete",
        "secret.missing",
        "power.over-budget",
        "publish.not-loopback",
        "image.not-pinned",
    ]


def test_an_incomplete_model_carries_every_problem_as_evidence() -> None:
    (finding,) = seen(looks=eyes(model=TORN))

    assert finding.evidence == "model-1.safetensors is missing; model-2.safetensors is empty"


# -- what a script is told -------------------------------------------------------------------------------------------------------

INFORMS, WARNS = Finding("c", "informs", "x"), Finding("b", "warns", "x")
BLOCKS, HAZARD = Finding("a", "blocks", "x"), Finding("h", "blocks", "x", hazard=True)


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ((), 0),
        ((INFORMS, WARNS), 0),
        ((Finding("w", "warns", "x", hazard=True),), 0),
        ((BLOCKS,), 1),
        ((WARNS, BLOCKS), 1),
        ((HAZARD,), 4),
        ((BLOCKS, HAZARD, INFORMS), 4),
    ],
)
def test_the_exit_code_says_whether_it_can_be_mended(findings: tuple[Finding, ...], code: int) -> None:
    assert exit_code(findings) == code


def test_findings_stand_by_severity_and_then_by_id() -> None:
    other = Finding("0", "warns", "x")

    assert worst_first([INFORMS, WARNS, BLOCKS, HAZARD, other]) == (BLOCKS, HAZARD, other, WARNS, INFORMS)

"""The unit's text, where it goes, whether it serves here, and what is typed to systemctl."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launchpad.errors import LaunchpadError
from launchpad.runtime.base import SecretRef
from launchpad.store.state import Store
from launchpad.supervise import spawn, systemd
from launchpad.supervise.systemd import ServiceManager, Setup
from tests.deploy.specs import shipped
from tests.supervise.stage import make_spec

if TYPE_CHECKING:
    from collections.abc import Mapping

GOLDEN = Path(__file__).parent / "units"
#: As after `sudo launchpad systemd install` of a package in /opt.
PLAIN = Setup(
    user=False,
    python="/opt/launchpad/bin/python",
    state=Path("/var/lib/launchpad"),
    environment=(("LAUNCHPAD_STATE_DIR", "/var/lib/launchpad"),),
    protect_home=True,
    private_tmp=True,
)
#: As after `launchpad systemd install` with a good deal of its own, in a folder that needs quotes.
OWN = Setup(
    user=False,
    python="/home/ann/my env/bin/python",
    state=Path("/srv/100% ours/state"),
    environment=(
        ("LAUNCHPAD_STATE_DIR", "/srv/100% ours/state"),
        ("DOCKER_HOST", "unix:///run/user/1000/docker.sock"),
    ),
    protect_home=False,
    private_tmp=False,
    closed=True,
)
USERS = replace(
    PLAIN,
    user=True,
    state=Path("/home/ann/.local/state/launchpad"),
    environment=(("LAUNCHPAD_STATE_DIR", "/home/ann/.local/state/launchpad"),),
)


@pytest.mark.parametrize(("file", "setup"), [("plain.service", PLAIN), ("own.service", OWN), ("user.service", USERS)])
def test_the_unit_reads_as_agreed(file: str, setup: Setup) -> None:
    assert systemd.render(setup) == (GOLDEN / file).read_text()


def test_a_path_with_a_newline_in_it_is_refused() -> None:
    with pytest.raises(LaunchpadError, match="control character"):
        systemd.render(replace(PLAIN, python="/opt/x\nExecStartPre=/bin/false"))


@pytest.mark.parametrize(
    ("environ", "state", "uses", "protect_home", "private_tmp"),
    [
        ({}, "/var/lib/launchpad", "/opt/launchpad", True, True),
        ({}, "/var/lib/launchpad", "/home/ann/venv", False, True),
        ({}, "/home/ann/state", "/opt/launchpad", False, True),
        ({"DOCKER_HOST": "unix:///run/user/1000/docker.sock"}, "/var/lib/launchpad", "/opt/launchpad", False, True),
        ({"DOCKER_HOST": "unix:///tmp/d/docker.sock"}, "/var/lib/launchpad", "/opt/launchpad", True, False),
        ({"LAUNCHPAD_PROFILES": "/etc/a:/root/b"}, "/var/lib/launchpad", "/opt/launchpad", False, True),
        ({"DOCKER_HOST": "tcp://10.0.0.1:2376"}, "/var/tmp/state", "/opt/launchpad", True, False),
    ],
)
def test_the_sandbox_hides_only_what_is_not_needed(
    environ: Mapping[str, str], state: str, uses: str, protect_home: bool, private_tmp: bool
) -> None:
    found = systemd.setup(environ, user=False, python="python", state=Path(state), uses=[Path(uses)])
    assert (found.protect_home, found.private_tmp) == (protect_home, private_tmp)


def test_only_what_says_where_things_are_is_written_into_the_unit() -> None:
    environ = {"DOCKER_HOST": "unix:///d.sock", "HF_TOKEN": "hf_secret", "LAUNCHPAD_PROFILES": ""}
    found = systemd.setup(environ, user=False, python="python", state=Path("/s"), uses=())
    assert found.environment == (("LAUNCHPAD_STATE_DIR", "/s"), ("DOCKER_HOST", "unix:///d.sock"))


@pytest.mark.parametrize(
    ("uid", "mode", "shut"), [(0, 0o700, False), (1000, 0o755, False), (1000, 0o711, False), (1000, 0o700, True)]
)
def test_root_without_capabilities_is_kept_out_of_another_users_closed_folders(uid: int, mode: int, shut: bool) -> None:
    def stat(path: Path) -> os.stat_result:
        mine = (uid, mode) if path == Path("/home/ann") else (0, 0o755)
        return os.stat_result((mine[1], 0, 0, 1, mine[0], 0, 0, 0, 0, 0))

    assert systemd.shut(Path("/home/ann/venv/bin/python"), stat) is shut


#: A systemctl that writes down what it is told, and answers from files beside it.
FAKE = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >>"$here/typed"
[ -f "$here/refuses" ] && { cat "$here/refuses" >&2; exit 1; }
case "$*" in *show*) cat "$here/shows" 2>/dev/null ;; esac
exit 0
"""


@dataclass
class Place:
    """A machine's worth of folders, with a systemctl in it."""

    root: Path
    state: Path

    def manager(self, *, user: bool = False) -> ServiceManager:
        return ServiceManager(
            user=user, folder=self.root / "units", alive=self.root / "alive", program=str(self.root / "systemctl")
        )

    def typed(self) -> list[str]:
        path = self.root / "typed"
        return path.read_text().splitlines() if path.exists() else []

    def shows(self, *blocks: str) -> None:
        (self.root / "shows").write_text("\n\n".join(blocks) + "\n")

    def install(self) -> ServiceManager:
        manager = self.manager()
        manager.install(
            systemd.render(replace(PLAIN, environment=(("LAUNCHPAD_STATE_DIR", str(self.state)),))), power_cap=False
        )
        (self.root / "typed").unlink(missing_ok=True)
        return manager


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "alive").mkdir()
    program = tmp_path / "systemctl"
    program.write_text(FAKE)
    program.chmod(0o755)
    return Place(tmp_path, tmp_path / '100% "state"')


def test_what_is_installed_is_read_by_systemd_at_once(place: Place) -> None:
    manager = place.manager()
    assert manager.install("# Written by: launchpad systemd install\n", power_cap=False)
    assert place.typed() == ["daemon-reload"]
    assert (place.root / "units" / "launchpad@.service").stat().st_mode & 0o777 == 0o644


def test_installing_the_same_again_changes_nothing(place: Place) -> None:
    manager = place.install()
    assert not manager.install(manager.text() or "", power_cap=False)
    assert place.typed() == []


def test_somebody_elses_unit_is_not_replaced(place: Place) -> None:
    path = place.root / "units" / "launchpad@.service"
    path.parent.mkdir()
    path.write_text("[Service]\nExecStart=/bin/true\n")
    with pytest.raises(LaunchpadError, match="launchpad did not write it"):
        place.manager().install("text", power_cap=False)
    assert path.read_text() == "[Service]\nExecStart=/bin/true\n"


def test_a_folder_that_cannot_be_written_is_an_error_with_a_way_out(place: Place) -> None:
    (place.root / "units").write_text("a file")
    with pytest.raises(LaunchpadError, match="cannot read") as caught:
        place.manager().install("text", power_cap=False)
    assert "sudo launchpad systemd install" in (caught.value.hint or "")


def test_removing_takes_the_power_cap_along_and_leaves_other_drop_ins(place: Place) -> None:
    manager = place.install()
    manager.install(manager.text() or "", power_cap=True)
    mine = manager.power_cap_path.with_name("mine.conf")
    mine.write_text("[Service]\n")
    assert manager.uninstall()
    assert sorted(path.name for path in (place.root / "units").rglob("*") if path.is_file()) == ["mine.conf"]


def test_removing_what_is_not_there_is_no_error(place: Place) -> None:
    assert not place.manager().uninstall()


def test_the_state_directory_is_read_back_as_it_was_written(place: Place) -> None:
    assert place.install().state() == place.state


def test_a_unit_serves_its_own_state_directory(place: Place) -> None:
    manager = place.install()
    assert systemd.serving(place.state, [manager]) is manager


def test_a_unit_serves_no_other_state_directory(place: Place) -> None:
    assert systemd.serving(place.root / "other", [place.install()]) is None


def test_a_unit_serves_nobody_where_systemd_does_not_run(place: Place) -> None:
    manager = place.install()
    (place.root / "alive").rmdir()
    assert systemd.serving(place.state, [manager]) is None


def test_a_start_forgets_what_failed_before_and_does_not_wait(place: Place) -> None:
    place.manager().start("demo")
    assert place.typed() == ["reset-failed launchpad@demo.service", "start --no-block launchpad@demo.service"]


def test_a_users_manager_is_asked_as_such(place: Place) -> None:
    place.manager(user=True).start("demo")
    assert place.typed()[1] == "--user start --no-block launchpad@demo.service"


def test_a_refusal_says_what_to_type(place: Place) -> None:
    (place.root / "refuses").write_text("Interactive authentication required.\n")
    with pytest.raises(LaunchpadError, match="Interactive authentication required") as caught:
        place.manager().start("demo")
    assert caught.value.hint == "sudo systemctl start --no-block launchpad@demo.service"


def test_a_systemctl_that_is_missing_is_an_error(place: Place) -> None:
    (place.root / "systemctl").unlink()
    with pytest.raises(LaunchpadError, match="cannot run systemctl: No such file"):
        place.manager().systemctl("daemon-reload")


SHOWN = """Id=launchpad@demo.service
ActiveState=activating
SubState=start
UnitFileState=enabled
Result=success
MainPID=412
NRestarts=2
StatusText=STARTING: weights 12/46, a=b"""
UNKNOWN = (
    "Id=launchpad@other.service\nActiveState=inactive\nSubState=dead\nUnitFileState=disabled\nMainPID=0\nNRestarts=0"
)


def test_instances_are_told_in_the_order_they_were_asked_for(place: Place) -> None:
    place.shows(UNKNOWN, SHOWN)
    demo, other = place.manager().show(("demo", "other"))
    assert (demo.active, demo.enabled, demo.pid, demo.restarts, demo.says) == (
        "activating",
        True,
        412,
        2,
        "STARTING: weights 12/46, a=b",
    )
    assert (other.active, other.enabled, other.pid) == ("inactive", False, None)


def test_enabling_what_is_enabled_types_nothing(place: Place) -> None:
    place.shows(SHOWN)
    assert not place.manager().enable("demo", wanted=True)
    assert place.manager().enable("demo", wanted=False)
    assert place.typed()[-1] == "disable launchpad@demo.service"


def test_a_failure_that_was_none_is_forgotten_once_systemd_has_seen_the_end(place: Place) -> None:
    place.shows(SHOWN)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        place.shows(SHOWN.replace("activating", "failed"))

    place.manager().forget("demo", sleep)
    assert len(waited) == 1
    assert place.typed()[-1] == "reset-failed launchpad@demo.service"


def test_up_asks_systemd_where_the_unit_serves(place: Place) -> None:
    deployment = Store(place.state, print).deployment("demo")
    assert spawn.ensure(deployment, {}, manager=place.install()) is None
    assert place.typed()[-1] == "start --no-block launchpad@demo.service"


@pytest.mark.parametrize(
    ("text", "names"),
    [("HF_TOKEN=abc\n# OTHER=1\n", {"HF_TOKEN"}), ("HF_TOKEN=\n", set()), ('  A="x"\nB=y\n', {"A", "B"}), ("", set())],
)
def test_the_names_in_an_environment_file_are_known_without_their_values(
    tmp_path: Path, text: str, names: set[str]
) -> None:
    path = tmp_path / "demo.env"
    path.write_text(text)
    assert systemd.names_in(path) == frozenset(names)


def test_a_secret_that_the_unit_would_not_see_is_named_with_its_remedy(place: Place) -> None:
    spec = make_spec(secrets=(SecretRef("HF_TOKEN", from_env="MY_TOKEN"),))
    home = {"HOME": str(place.root)}
    with pytest.raises(LaunchpadError, match=r"MY_TOKEN is not set in .*\.env") as caught:
        spawn.refuse_unseen_secrets(spec, place.manager(user=True), home)
    file = place.root / ".config" / "launchpad" / f"{spec.name}.env"
    assert caught.value.hint == f'printf "MY_TOKEN=$MY_TOKEN\\n" | install -D -m 600 /dev/stdin {file}'
    file.parent.mkdir(parents=True)
    file.write_text("MY_TOKEN=x\n")
    spawn.refuse_unseen_secrets(spec, place.manager(user=True), home)


def test_the_key_of_a_hosted_endpoint_that_the_unit_would_not_see_is_named_with_its_remedy(place: Place) -> None:
    spec = shipped("v4-flash-deepseek-api")
    with pytest.raises(LaunchpadError, match=r"DEEPSEEK_API_KEY is not set in .*v4-flash-deepseek-api\.env") as caught:
        spawn.refuse_unseen_secrets(spec, place.manager(user=True), {"HOME": str(place.root)})
    assert (caught.value.hint or "").startswith('printf "DEEPSEEK_API_KEY=$DEEPSEEK_API_KEY\\n" | install')


def test_the_users_unit_goes_where_systemd_looks_for_it() -> None:
    manager = systemd.user_manager({"XDG_CONFIG_HOME": "/c", "XDG_RUNTIME_DIR": "/r"}, uid=1000, home=Path("/home/ann"))
    assert manager.path == Path("/c/systemd/user/launchpad@.service")


@pytest.mark.parametrize(("linger", "told"), [(True, True), (False, False)])
def test_lingering_is_known_by_its_file(tmp_path: Path, linger: bool, told: bool) -> None:
    folder = tmp_path / "linger"
    folder.mkdir()
    if linger:
        (folder / "ann").touch()
    assert systemd.lingers({"USER": "ann"}, folder) is told

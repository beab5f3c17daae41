"""Making sure that a deployment has its one supervisor.

Where the systemd unit is installed for our state directory, systemd starts it; elsewhere ``up`` starts the very line that the unit
would run, detached: a session of its own, no terminal, its words in ``supervisor.log``. The lock in the deployment's folder decides
who is the one; a second supervisor ends at once. Nothing here drives a container.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from launchpad.errors import LaunchpadError
from launchpad.supervise import systemd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchpad.deploy.spec import Spec
    from launchpad.store.state import Deployment
    from launchpad.supervise.systemd import ServiceManager


#: What a prepared supervisor waits for on its standard input.
WORD: Final = b"\n"


class Prepared:
    """A supervisor that has imported what it needs and waits for a word before it touches anything.

    It gets ready beside the preflight instead of after it, which is half of what launchpad adds to a bare ``docker run``. Without
    the word it ends by itself, when the pipe to it does.
    """

    def __init__(self, deployment: Deployment, child: subprocess.Popen[bytes]) -> None:
        self._deployment, self._child = deployment, child
        self._told = False

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.stdin is not None:
            self._child.stdin.close()
        if not self._told:
            self._child.wait()
            with contextlib.suppress(OSError):  # a folder that holds anything stays
                if self._deployment.supervisor_log.stat().st_size == 0 and not self._deployment.exists():
                    self._deployment.supervisor_log.unlink()
                    self._deployment.folder.rmdir()

    def go(self) -> int | None:
        """Say the word; its pid, or None where it is gone already."""
        try:
            if self._child.stdin is not None:
                self._child.stdin.write(WORD)
                self._child.stdin.close()
        except OSError:
            return None
        self._told = True
        return self._child.pid


def prepare(deployment: Deployment, environ: Mapping[str, str]) -> Prepared | None:
    """A supervisor in waiting, or None where one runs already, systemd starts it, or none can be started now.

    In the last case :func:`ensure` says why.
    """
    if deployment.supervisor_pid() is not None or manager_of(deployment, environ) is not None:
        return None
    try:
        return Prepared(
            deployment, _start(deployment, environ, *command(deployment.name), "--on-word", stdin=subprocess.PIPE)
        )
    except LaunchpadError:
        return None


def command(name: str) -> tuple[str, ...]:
    """The line that supervises ``name``, with this very interpreter."""
    return (sys.executable, "-m", "launchpad", "supervise", name)


def manager_of(deployment: Deployment, environ: Mapping[str, str]) -> ServiceManager | None:
    """The service manager whose unit looks after this deployment, None where ``up`` starts a detached process."""
    return systemd.serving(deployment.folder.parent.parent, systemd.managers(environ))


def ensure(
    deployment: Deployment,
    environ: Mapping[str, str],
    prepared: Prepared | None = None,
    manager: ServiceManager | None = None,
) -> int | None:
    """Wake the supervisor that runs, or have one started: by ``manager`` (default: :func:`manager_of`), else by ourselves.

    Returns its pid, None where systemd was asked for it. Raises LaunchpadError where it cannot be started.
    """
    pid = deployment.supervisor_pid()
    if pid and wake(pid):
        return pid
    if prepared is not None and (pid := prepared.go()) is not None:
        return pid
    manager = manager or manager_of(deployment, environ)
    if manager is not None:
        manager.start(deployment.name)
        return None
    return _start(deployment, environ, *command(deployment.name), stdin=subprocess.DEVNULL).pid


def refuse_unseen_secrets(spec: Spec, manager: ServiceManager, environ: Mapping[str, str]) -> None:
    """Raise where the unit would not see a secret that this shell sees: it would fail only once it is started."""
    from launchpad.deploy.apply import named_in

    path = systemd.secrets_file(manager, spec.name, environ)
    known = systemd.names_in(path)
    if known is None:
        return  # not ours to read: the unit tells
    wanted = (secret for secrets in named_in(spec).values() for secret in secrets if secret.required)
    missing = sorted({secret.from_env for secret in wanted if secret.from_env is not None} - known)
    if missing:
        lines = "".join(f"{name}=${name}\\n" for name in missing)
        sudo = "" if manager.user else "sudo "
        raise LaunchpadError(
            f"cannot start {spec.name} under {manager.unit(spec.name)}: {missing[0]} is not set in {path}",
            hint=f'printf "{lines}" | {sudo}install -D -m 600 /dev/stdin {path}',
        )


def _start(deployment: Deployment, environ: Mapping[str, str], *words: str, stdin: int) -> subprocess.Popen[bytes]:
    """Start a detached process: a session of its own, its words in the supervisor's log."""
    deployment.make()
    try:
        with deployment.supervisor_log.open("ab") as log:
            return subprocess.Popen(
                words,
                stdin=stdin,
                stdout=log,
                stderr=log,
                cwd="/",
                env=dict(environ),
                start_new_session=True,
                close_fds=True,
            )
    except OSError as error:
        raise LaunchpadError(f"cannot start the supervisor of {deployment.name}: {error.strerror or error}") from error


def wake(pid: int) -> bool:
    """Tell a supervisor to look now; False where that process is gone."""
    try:
        os.kill(pid, signal.SIGUSR1)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise LaunchpadError(
            f"cannot wake supervisor {pid}: it belongs to another user",
            hint="use the same user, or sudo, as for its `up`",
        ) from error
    return True


def refuse_other_environment(spec: Spec, pid: int, environ: Mapping[str, str], *, restarts: bool = False) -> None:
    """Raise where the supervisor that runs has not the secrets of this shell: its environment is that of its own start.

    It would fail over a variable that is set, or go on with a key that was replaced. Nothing of a value is said. ``restarts``
    says that a restart is asked for, for the words.
    """
    from launchpad.deploy.apply import named_in

    its = _environment_of(pid)
    if its is None:
        return  # another user's, or gone
    for secret in (secret for secrets in named_in(spec).values() for secret in secrets):
        name = secret.from_env
        if name is not None and environ.get(name) and its.get(name) != environ[name]:
            has = "another value" if its.get(name) else "no value"
            doing = f"restart {spec.name}" if restarts else f"bring {spec.name} up"
            raise LaunchpadError(
                f"cannot {doing}: its supervisor has {has} of {name}, as its environment is that of its start",
                hint=f"launchpad down {spec.name}, and up again; a secret in a file (from_file) is read anew by restart",
            )


def _environment_of(pid: int) -> dict[str, str] | None:
    """The environment that a process was started with, None where it cannot be read."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    pairs = (item.partition(b"=") for item in data.split(b"\0") if item)
    return {name.decode(errors="replace"): value.decode(errors="surrogateescape") for name, _, value in pairs}


def alive(pid: int) -> bool:
    """Whether a process still runs; one that has ended and only waits for its parent to ask does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def coming(deployment: Deployment, environ: Mapping[str, str]) -> bool:
    """Whether systemd has its supervisor in hand: a busy machine takes a while from a start to a supervisor that holds its lock."""
    manager = manager_of(deployment, environ)
    return manager is not None and manager.show((deployment.name,))[0].active in {"activating", "active"}


def last_words(deployment: Deployment, environ: Mapping[str, str], lines: int = 5) -> tuple[str, str]:
    """The supervisor's last words, for an error that must explain why it died, and the command that shows more of them."""
    manager = manager_of(deployment, environ)
    if manager is not None:
        return manager.last_words(
            deployment.name, lines
        ), f"journalctl{manager.flag} -u {manager.unit(deployment.name)}"
    try:
        text = deployment.supervisor_log.read_text(errors="replace")
    except OSError:
        text = ""
    said = " | ".join(line for line in text.splitlines()[-lines:] if line.strip())
    return said, f"cat {deployment.supervisor_log}"

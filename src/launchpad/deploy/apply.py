"""Doing what was planned, and nothing else.

Each function here carries out one kind of step on the runtime and decides nothing. Secrets are read here, at the last moment, and
go nowhere but into the container's environment. :func:`prepare` runs in ``up`` (images and volumes); the rest is the
supervisor's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from launchpad.errors import LaunchpadError
from launchpad.runtime.base import LABEL_CACHE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchpad.deploy.spec import Spec
    from launchpad.runtime.base import Container, Runtime, SecretRef

_SECRET_BYTES = 64 * 1024


def read_secrets(spec: Spec, environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Values by container name and environment name; raises LaunchpadError naming the secret, never its value.

    The key of a hosted endpoint is under the endpoint's own URL; it has to be one that an HTTP header can carry.
    """
    read = _read_key if spec.hosted is not None else _read_secret
    return {
        where: {secret.env: value for secret in secrets if (value := read(spec.name, secret, environ)) is not None}
        for where, secrets in named_in(spec).items()
    }


def key_of(spec: Spec, secrets: Mapping[str, Mapping[str, str]]) -> str | None:
    """The API key of a hosted deployment among what :func:`read_secrets` gave; None where it goes without one."""
    if spec.hosted is None or spec.hosted.key is None:
        return None
    return secrets[spec.hosted.base_url].get(spec.hosted.key.env)


def named_in(spec: Spec) -> dict[str, tuple[SecretRef, ...]]:
    """The secrets that ``spec`` names, by container, or by the URL of a hosted endpoint."""
    if spec.hosted is not None:
        return {spec.hosted.base_url: () if spec.hosted.key is None else (spec.hosted.key,)}
    return {container.name: container.secrets for container in spec.containers}


def _read_key(name: str, secret: SecretRef, environ: Mapping[str, str]) -> str | None:
    """A bearer token: visible ASCII alone. A line end behind it, as a copied file brings one, is no part of it."""
    value = (_read_secret(name, secret, environ) or "").strip()
    if all("!" <= letter <= "~" for letter in value):
        return value or None
    where = f"environment variable {secret.from_env}" if secret.from_env is not None else f"file {secret.from_file}"
    raise LaunchpadError(
        f"cannot start {name}: {secret.env}, from {where}, holds a space, a line end or a letter that no key has",
        hint="put the key alone there, as the provider shows it",
    )


def _read_secret(name: str, secret: SecretRef, environ: Mapping[str, str]) -> str | None:
    value: str | None = None
    if secret.from_env is not None:
        value = environ.get(secret.from_env)
        where, hint = f"environment variable {secret.from_env} is not set", f"export {secret.from_env}=..."
    else:
        path = Path(secret.from_file or "")
        where, hint = f"file {path} cannot be read", f"sudo install -m 600 /dev/stdin {path}, and paste the value"
        try:
            with path.open("rb") as file:
                value = file.read(_SECRET_BYTES).decode().strip()
            where = f"file {path} is empty"
        except (OSError, UnicodeDecodeError):
            value = None
    if value:
        return value
    if not secret.required:
        return None
    raise LaunchpadError(f"cannot start {name}: secret {secret.env} has no value: {where}", hint=hint)


def launch(spec: Spec, runtime: Runtime, owner: str, secrets: Mapping[str, Mapping[str, str]]) -> tuple[Container, ...]:
    """Create and start every container of the spec, in order; removes what it made where one of them fails."""
    made: list[Container] = []
    if spec.cache is not None:
        runtime.create_volume(spec.cache.volume, {LABEL_CACHE: spec.cache.keyed_by})
    try:
        for container_spec in spec.labelled(owner):
            container = runtime.create(container_spec, secrets.get(container_spec.name, {}))
            made.append(container)
            runtime.start(container.id)
    except LaunchpadError:
        clear(tuple(made), runtime)
        raise
    return tuple(made)


def stop(containers: tuple[Container, ...], runtime: Runtime, signal: str = "SIGTERM") -> None:
    """Ask the running container that was started last to end, as the others serve it until then; SIGKILL asks all at once."""
    running = [container for container in containers if container.running]  # newest first, as the runtime lists them
    for container in running if signal == "SIGKILL" else running[:1]:
        runtime.signal(container.id, signal)


def clear(containers: tuple[Container, ...], runtime: Runtime) -> None:
    """Remove containers, running or not; those that are gone are no error."""
    for container in containers:
        runtime.remove(container.id)

"""Every error a person can meet, in one tree.

::

    LaunchpadError            exit 1, the person can mend it
    ├── ProfileError          a profile is wrong; carries every problem with file and line
    ├── NotFoundError         no such profile, deployment, rig, image
    ├── RuntimeUnavailable    the Docker Engine does not answer, or refuses
    ├── ImageError            an image cannot be pulled, built or found
    ├── ContainerError        a container cannot be created, started or stopped
    ├── StoreError            the state directory cannot be read or written
    ├── BusyError             somebody else holds the lock
    ├── WouldNotStayUp        exit 3, the deployment gave up
    └── BlockedError          exit 4, a finding blocks the launch

Messages read "cannot <verb> <the user's thing>: <cause>"; ``hint`` is something that can be pasted or done. A bug is not
a LaunchpadError and keeps its traceback. This module refuses to print: that is the command line's work.
"""

from __future__ import annotations

from typing import ClassVar, Final

EXIT_OK: Final = 0
EXIT_USER: Final = 1
EXIT_USAGE: Final = 2
EXIT_WOULD_NOT_STAY_UP: Final = 3
EXIT_BLOCKED: Final = 4


class LaunchpadError(Exception):
    """Something the person can mend: ``message`` says what, ``hint`` says how."""

    exit_code: ClassVar[int] = EXIT_USER

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ProfileError(LaunchpadError):
    """One or more profiles are wrong; ``problems`` holds one printable line each."""

    def __init__(self, message: str, *, problems: tuple[str, ...] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class NotFoundError(LaunchpadError):
    """The thing named does not exist."""


class RuntimeUnavailable(LaunchpadError):
    """The container runtime does not answer."""


class ImageError(LaunchpadError):
    """An image cannot be found, pulled or built."""


class ContainerError(LaunchpadError):
    """A container cannot be created, started, stopped or read."""


class StoreError(LaunchpadError):
    """The state directory cannot be read or written."""


class BusyError(LaunchpadError):
    """Another process holds what we need."""


class WouldNotStayUp(LaunchpadError):
    """The deployment was started and gave up."""

    exit_code: ClassVar[int] = EXIT_WOULD_NOT_STAY_UP


class BlockedError(LaunchpadError):
    """A known hazard blocks the launch."""

    exit_code: ClassVar[int] = EXIT_BLOCKED

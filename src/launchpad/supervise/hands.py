"""What a supervisor does to its containers: asks them to end, in order, and removes them.

A word that does not get through is owed, and sent again. It refuses to decide: the machine does, and the loop calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from launchpad.deploy import apply
from launchpad.errors import LaunchpadError

if TYPE_CHECKING:
    from launchpad.runtime.base import Runtime
    from launchpad.supervise.lookout import Lookout
    from launchpad.supervise.outside import Note

Word = Literal["stop", "kill"]


class Hands:
    """The containers that ``lookout`` sees, in the hands of their supervisor."""

    def __init__(self, lookout: Lookout, runtime: Runtime, note: Note) -> None:
        self._lookout, self._runtime, self._note = lookout, runtime, note
        self._owed: Word | None = None
        self._asked_to_end = 0
        self._clear_failed: str | None = None

    def owe(self, word: Word) -> None:
        """A predecessor noted ``word`` and perhaps never sent it."""
        self._owed = word

    def send(self, word: Word) -> None:
        """Send a stop or a kill; one that does not get through is owed, and sent again at the next look."""
        owed, self._owed = self._owed, word
        try:
            apply.stop(self._lookout.containers, self._runtime, "SIGKILL" if word == "kill" else "SIGTERM")
        except LaunchpadError as error:
            if owed is None:
                self._note("signal-failed", error.message, detail={"hint": error.hint})
            return
        self._owed = None
        self._asked_to_end = sum(item.running for item in self._lookout.containers)

    def go_on(self, word: Word) -> None:
        """While they are to end: send what is owed, and where one of several has drained, ask the next.

        A frontend goes after its worker.
        """
        if self._owed is not None:
            self.send(self._owed)
        left = sum(item.running for item in self._lookout.containers)
        if self._asked_to_end > left > 0 and self._owed is None:
            self.send(word)

    def rest(self) -> None:
        """Nothing is to end."""
        self._asked_to_end = 0

    def clear(self) -> None:
        """Remove the containers, running or not; what fails is told once and tried again."""
        containers = self._lookout.containers
        try:
            apply.clear(containers, self._runtime)
        except LaunchpadError as error:
            if self._clear_failed is None:
                self._note("clear-failed", error.message, detail={"hint": error.hint})
            self._clear_failed = error.message
            return
        self._clear_failed = None
        for container in containers:
            self._note("container-removed", f"container {container.name}", detail={"container": container.id[:12]})
        self._lookout.containers = ()

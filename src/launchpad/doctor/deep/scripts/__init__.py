"""What runs elsewhere: inside a container, or in a child process. Handed over as text, never imported by launchpad itself."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

#: Every line of an answer begins with it; all else that a container says is noise.
MARK: Final = "LAUNCHPAD-DEEP "


def source(name: str) -> str:
    """The text of the script ``name``, such as ``measure``."""
    return files(__package__ or __name__).joinpath(f"{name}.py").read_text(encoding="utf-8")

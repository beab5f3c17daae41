"""The stage that the supervisor's tests play on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.supervise.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()

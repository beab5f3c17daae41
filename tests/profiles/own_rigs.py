"""Which recorded rig each shipped profile is made for: the one table that golden lines, doctor and rehearsals are tested by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Profile -> recorded rig; None: it needs no GPU of this rig.
OWN_RIG: Final[Mapping[str, str | None]] = {
    "demo-dynamo-mocker": None,
    "demo-vllm-cpu": None,
    "qwen3-embedding-vllm-shared": "4x-rtx-pro-6000",
    "v4-flash-dynamo-trtllm-gb300": "4x-gb300",
    "v4-flash-nim": "4x-rtx-pro-6000",
    "v4-flash-sglang-h200-tp2": "2x-h200-measured",
    "v4-flash-sglang-tp2": "4x-rtx-pro-6000",
    "v4-flash-sglang-tp4": "4x-rtx-pro-6000",
    "v4-flash-sglang-tp4-dp2": "8x-rtx-pro-6000-server",
    "v4-flash-sglang-tp4-max-q": "4x-rtx-pro-6000-max-q",
    "v4-flash-sglang-tp4-shared": "4x-rtx-pro-6000",
    "v4-flash-trtllm-gb300": "4x-gb300",
    "v4-flash-vllm-sm120-fork": "4x-rtx-pro-6000",
    "v4-flash-vllm-tp2": "4x-rtx-pro-6000",
    "v4-flash-vllm-tp4": "4x-rtx-pro-6000",
    "v4-flash-vllm-tp8": "8x-rtx-pro-6000-server",
    "v4-pro-dynamo-trtllm-gb300": "4x-gb300",
}

"""How each inference server is launched: flags, probes, log lines. Never Docker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launchpad.engines.dynamo import Dynamo
from launchpad.engines.generic import Generic
from launchpad.engines.hosted import Hosted
from launchpad.engines.nim import NIM
from launchpad.engines.sglang import SGLang
from launchpad.engines.trtllm import TensorRTLLM
from launchpad.engines.vllm import VLLM

if TYPE_CHECKING:
    from launchpad.engines.base import Engine


def engine(name: str) -> Engine:
    """The engine a profile names; the schema has refused every other name before."""
    engines: dict[str, Engine] = {
        item.name: item for item in (SGLang(), VLLM(), TensorRTLLM(), Dynamo(), NIM(), Hosted(), Generic())
    }
    return engines[name]

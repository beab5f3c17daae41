"""Flags that a typed field says are refused beside it, in all their spellings; no other flag of any release is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from launchpad.engines.schemas import known_versions, load_schema
from launchpad.profiles.owned import OWNED, owner
from launchpad.rig.facts import RigFacts
from tests.deploy.specs import profile, spec
from tests.engines.test_every_field import CASES, KINDS, REFUSED, changed

if TYPE_CHECKING:
    from collections.abc import Iterator


def flags(kind: str, field: str) -> set[str]:
    """The flags that a field adds, or takes out, of a server's command."""
    commands = []
    for table in changed(kind, field):
        made = profile(**table)
        found = spec(made, RigFacts((), driver_version=None) if made.gpus is None else None)
        commands.append({word[2:].replace("_", "-") for word in found.server.command if word.startswith("--")})
    return commands[0] ^ commands[1]


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (kind, field)
        for kind, field in CASES
        if kind in OWNED and field not in REFUSED[kind] and not field.startswith("speculative.")
    ],
)
def test_the_flags_that_a_field_is_rendered_as_are_its_own(kind: str, field: str) -> None:
    keys = {owner(kind, flag) for flag in flags(kind, field)}

    assert keys <= {field, "engine_config"}


def every_flag() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Each argument of every release whose schema ships, under all its names."""
    for engine in ("sglang", "vllm"):
        for version in known_versions(engine):
            schema = load_schema(engine, version)
            assert schema is not None
            for argument in schema.arguments:
                yield engine, version, tuple(name.lstrip("-") for name in argument.flags if name.startswith("--"))


def test_no_flag_of_any_release_is_refused_that_is_not_another_name_of_what_a_field_says() -> None:
    wrong = []
    for engine, version, names in every_flag():
        own = {name for listed in OWNED[engine].values() for name in listed}
        spelled = {name.replace("_", "-").removeprefix("no-") for name in names}
        caught = {name for name in names if owner(engine, name) is not None}
        if caught and (not spelled & own or caught != set(names)):
            wrong.append((engine, version, names))

    assert wrong == []


@pytest.mark.parametrize(
    ("kind", "flag", "key"),
    [
        ("vllm", "gpu-memory-utilization", "serving.memory_fraction"),
        ("vllm", "gpu_memory_utilization", "serving.memory_fraction"),
        ("vllm", "gpu-memory-util", "serving.memory_fraction"),
        ("vllm", "tensor-parallel-size", "parallel.tensor"),
        ("sglang", "tp", "parallel.tensor"),
        ("sglang", "mem-fraction-static", "serving.memory_fraction"),
        ("trtllm", "tp_size", "parallel.tensor"),
        ("dynamo trtllm", "max-seq-len", "serving.context_length"),
        ("dynamo mocker", "max-num-seqs", "serving.max_running_requests"),
    ],
)
def test_a_flag_beside_its_field_is_refused_with_where_it_belongs(kind: str, flag: str, key: str) -> None:
    with pytest.raises(ValidationError) as refused:
        profile(**KINDS[kind], engine_args={flag: 1})

    assert f"engine_args.{flag}: is what {key} says" in str(refused.value)
    assert f"say it as {key} alone" in str(refused.value)

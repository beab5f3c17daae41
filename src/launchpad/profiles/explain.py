"""What is wrong with a profile's table, in sentences: pydantic's errors turned into "what is wrong, what would be right".

Pure: a table and the schema in, (key path, sentence) out. The only reader of pydantic's error types; it refuses to know where
in which file a key stands, which is ``layers``' work.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import date, time
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from launchpad.profiles.schema import FORMS, Contradictions, Profile, shape_of
from launchpad.profiles.source import KeyPath, quote, shorten, show_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

Wrong = tuple[KeyPath, str]

MOST_MATCHED: Final = 200
"""Unknown keys that are compared with the known ones; a file with more has other troubles."""

_OTHER_WORDS: Final[Mapping[str, str]] = {
    "environment": "env",
    "volumes": "mounts",
    "ports": "publish",
    "port": "publish.port",
    "healthcheck": "probes",
    "args": "engine_args",
    "tp": "parallel.tensor",
    "tp_size": "parallel.tensor",
    "tensor_parallel_size": "parallel.tensor",
    "pp": "parallel.pipeline",
    "dp": "parallel.data",
    "ep": "parallel.expert",
    "tag": "image.reference",
    "max_model_len": "serving.context_length",
    "max_num_seqs": "serving.max_running_requests",
    "mem_fraction_static": "serving.memory_fraction",
    "gpu_memory_utilization": "serving.memory_fraction",
    "reasoning_mode": "serving.reasoning",
    "reasoning_effort": "serving.reasoning",
    "thinking": "serving.reasoning",
    "speculative_config": "speculative",
    "speculative_algorithm": "speculative.method",
    "num_speculative_tokens": "speculative.draft_tokens",
    "speculative_num_draft_tokens": "speculative.draft_tokens",
    "speculative_dspark_block_size": "speculative.draft_tokens",
    "power_limit": "power.cap_w",
    "power_limit_w": "power.cap_w",
    "power_cap": "power.cap_w",
    "hang_after": "deadlines.hang",
    "hang_timeout": "deadlines.hang",
    "extends": "extends, at the top of the file",
}
"""What people call it elsewhere, and what it is called here."""

_UNION_WORDS: Final[Mapping[str, str]] = {
    "engine_args": "must be true or false, a number, text, a list of texts and numbers, or a table",
    "env": "must be text or a whole number",
    "image": "must be text or a whole number",
}

_TYPE_WORDS: Final[Mapping[str, str]] = {
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list, in [ ]",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "date_type": "must be a day, such as 2026-11-22",
    "date_parsing": "must be a day, such as 2026-11-22",
    "date_from_datetime_parsing": "must be a day, such as 2026-11-22",
    "date_from_datetime_inexact": "must be a day, such as 2026-11-22",
}

_LIMIT_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than": ("must be more than {}", "gt"),
    "greater_than_equal": ("must be at least {}", "ge"),
    "less_than": ("must be less than {}", "lt"),
    "less_than_equal": ("must be at most {}", "le"),
}


def problems_of(table: Mapping[str, Any], *, partial: bool = False, most: int) -> tuple[list[Wrong], int]:
    """What is wrong with a merged ``table``, ``most`` of it in words, and how many more there are.

    A ``partial`` table is a layer that others extend: what it leaves out, and what contradicts only for want of that, is no
    problem.
    """
    try:
        shape_of(table).model_validate(table)
    except ValidationError as error:
        groups = _groups(error.errors(include_url=False), table, partial=partial)
        wrong = [item for path, group in groups[:most] for item in _sentences(path, group)]
        return wrong, len(groups[most:])
    return [], 0


def _groups(
    errors: Sequence[ErrorDetails], table: Mapping[str, Any], *, partial: bool
) -> list[tuple[KeyPath, list[ErrorDetails]]]:
    """The errors by the place they speak of: pydantic gives one for each branch of a union."""
    groups: dict[KeyPath, list[ErrorDetails]] = {}
    for error in errors:
        groups.setdefault(_real_path(error, table), []).append(error)
    unknown = list(
        islice((path for path, group in groups.items() if group[0]["type"] == "extra_forbidden"), MOST_MATCHED)
    )
    misspelt = {(*path[:-1], meant(path)) for path in unknown}
    return [
        (path, group)
        for path, group in groups.items()
        if not (group[0]["type"] == "missing" and (partial or path in misspelt))
        and not (group[0]["type"] == "value_error" and partial and isinstance(_value_at(table, path), Mapping))
    ]


def _real_path(error: ErrorDetails, table: Mapping[str, Any]) -> KeyPath:
    """The part of pydantic's location that exists in ``table``: without the names it gives to branches of unions."""
    path: list[str | int] = []
    node: Any = table
    for part in error["loc"]:
        inside = range(len(node)) if isinstance(node, list) else node if isinstance(node, Mapping) else ()
        if part not in inside:
            if error["type"] == "missing":
                path.append(part)
            break
        node = node[part]
        path.append(part)
    return tuple(path)


def _value_at(table: Mapping[str, Any], path: KeyPath) -> object:
    node: Any = table
    for part in path:
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            return None
    return node


def _may_tell_a_secret(path: KeyPath, value: object) -> bool:
    """Whether somebody may have written a secret itself there: then no message repeats it."""
    if path[:1] == ("secrets",) or path[:2] == ("hosted", "key"):
        return True
    return path[:1] == ("hosted",) and isinstance(value, str) and any(mark in value for mark in "@?#")


def _sentences(path: KeyPath, group: list[ErrorDetails]) -> Iterator[Wrong]:
    error = next((e for e in group if not e["type"].endswith("_type")), group[0])
    if _may_tell_a_secret(path, error["input"]):
        yield (
            path,
            _sentence(path, error)
            .replace(_has(error["input"]), "has something else")
            .replace(repr(error["input"]), "what it has"),
        )
        return
    if error["type"] == "value_error":
        cause = error.get("ctx", {}).get("error")
        if isinstance(cause, Contradictions):
            yield from cause.found
            return
    if error["loc"][-1:] == ("[key]",):
        yield path, _bad_key(error)
    elif len(group) > 1 and error["type"].endswith("_type"):
        yield path, f"{_UNION_WORDS.get(str(path[0]), 'has the wrong type')}; {_has(error['input'])}"
    else:
        yield path, _sentence(path, error)


def _bad_key(error: ErrorDetails) -> str:
    name = str(error["input"])
    if name.startswith("-") and name.strip("-"):
        return f"is written with dashes; write {quote(name.lstrip('-'))}"
    return f"cannot be a name here; {_form(error)}"


def _sentence(path: KeyPath, error: ErrorDetails) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    says = error["msg"][:1].lower() + error["msg"][1:]
    if kind in _TYPE_WORDS:
        says = f"{_TYPE_WORDS[kind]}; {_has(value)}"
    elif kind in _LIMIT_WORDS:
        words, limit = _LIMIT_WORDS[kind]
        says = f"{words.format(context[limit])}; {_has(value)}"
    elif kind == "missing":
        says = _missing(path)
    elif kind == "extra_forbidden":
        says = unknown_key(path)
    elif kind == "literal_error":
        says = _choice(path, value)
    elif kind == "string_pattern_mismatch":
        says = f"{_has(value)}; {_form(error)}"
    elif kind in ("string_too_short", "too_short"):
        says = "is empty; give it a value or remove it"
    elif kind in ("string_too_long", "too_long"):
        says = f"is longer than {context['max_length']}; shorten it"
    elif kind == "value_error":
        says = str(context.get("error", says))
    return one_line(says)


def one_line(text: str) -> str:
    """A sentence that quotes its input, on one line and not endless."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= 300 else plain[:299] + "…"


def _form(error: ErrorDetails) -> str:
    return FORMS.get(str(error.get("ctx", {}).get("pattern")), "see `launchpad profiles schema`")


def _has(value: object) -> str:
    match value:
        case bool():
            return f"has {str(value).lower()}"
        case str():
            return f"has {quote(value)}"
        case int() | float():
            return f"has {value}" if abs(value) < 2**63 else "has a huge number"
        case list():
            return "has a list"
        case date() | time():
            return f"has {value.isoformat()}"
        case _:
            return "has a table"


# -- what the schema knows ---------------------------------------------------------------------------------------------


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside ``X | None``, ``list[X]`` or ``dict[str, X]``, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_in(inner))), None)


def model_at(path: KeyPath) -> type[BaseModel] | None:
    """The model of the table at ``path``, None where the schema has none."""
    model: type[BaseModel] | None = Profile
    for part in path:
        if isinstance(part, str) and model is not None and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation)
        elif not isinstance(part, int):
            # a name of the user's own, as in [secrets.HF_TOKEN]: the table's model stays
            continue
    return model


def known_keys(model: type[BaseModel] = Profile, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of the schema as a path of names; tables inside lists and named tables without their index or name."""
    for name, field in model.model_fields.items():
        yield (*prefix, name)
        inner = _model_in(field.annotation)
        if inner is not None:
            yield from known_keys(inner, (*prefix, name))


def unknown_key(path: KeyPath) -> str:
    """That the key at ``path`` is unknown, with the one that was meant."""
    if close := meant(path):
        return f"unknown key; did you mean {close}?"
    key, names = shorten(str(path[-1])), _names(path[:-1])
    if place := _belongs(key, len(path) == 1):
        return f"unknown key; {place}"
    shown = ", ".join(names) if len(names) <= 12 else "see `launchpad profiles schema`"
    return f"unknown key; {'known here: ' + shown if len(names) <= 12 else shown}"


def meant(path: KeyPath) -> str | None:
    """The key that was probably meant by the unknown one at ``path``."""
    written = shorten(str(path[-1])).lower().replace("-", "_")
    return next(iter(difflib.get_close_matches(written, _names(path[:-1]), n=1, cutoff=0.7)), None)


def _names(table: KeyPath) -> list[str]:
    model = model_at(table) or Profile
    return [*model.model_fields, *(["extends"] if model is Profile else [])]


def _belongs(key: str, at_top: bool) -> str | None:  # noqa: FBT001
    if not at_top and key in Profile.model_fields:
        return "it belongs at the top level, above the first [table]"
    if word := _OTHER_WORDS.get(key.replace("-", "_")):
        return f"here it is called {word}"
    homes = [path for path in known_keys() if path[-1] == key and len(path) > 1]
    if len(homes) == 1:
        return f"it belongs under [{'.'.join(homes[0][:-1])}]"
    return None


def _field(path: KeyPath) -> FieldInfo | None:
    model = model_at(path[:-1])
    return model.model_fields.get(str(path[-1])) if model else None


def _choices(field: FieldInfo | None) -> tuple[str, ...]:
    """The values of a field that allows only some, as TOML writes them."""
    kinds = () if field is None else (field.annotation, *get_args(field.annotation))  # it may be Literal[...] | None
    found = next((kind for kind in kinds if get_origin(kind) is Literal), None)
    return tuple(quote(choice) if isinstance(choice, str) else str(choice) for choice in get_args(found))


def _missing(path: KeyPath) -> str:
    field = _field(path)
    inner = _model_in(field.annotation) if field else None
    if inner is not None:
        needed = [name for name, part in inner.model_fields.items() if part.is_required()]
        return f"is missing; add a table [{show_path(path)}]{' with ' + ' and '.join(needed) if needed else ''}"
    if choices := _choices(field):
        return f"is missing; add {path[-1]} = {' or '.join(choices)}"
    return f"is missing; add {path[-1]}" + (f": {field.description}" if field and field.description else "")


def _choice(path: KeyPath, value: object) -> str:
    choices = _choices(_field(path))
    names, written = [choice.strip('"') for choice in choices], shorten(value).lower() if isinstance(value, str) else ""
    close = difflib.get_close_matches(written, names, n=1, cutoff=0.7)
    return f"must be {' or '.join(choices)}; {_has(value)}" + (f", did you mean {quote(close[0])}?" if close else "")

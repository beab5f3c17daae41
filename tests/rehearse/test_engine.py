"""The stand-in behaves as the engine it stands for: stages, endpoints, metrics, command line, end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from launchpad.engines import engine as real_engine
from launchpad.engines.base import progress_of
from tests.rehearse.lives import ENGINE, READY_PATH, SGLANG, VLLM, WORDS, Life, settings_of

ENGINES = ("sglang", "vllm", "generic")
DATA = Path(__file__).with_name("data")


def stages_seen(engine: str, log: str) -> list[str]:
    """The stages that launchpad reads in a log, in the order of their first sight."""
    seen: list[str] = []
    for line in re.split(r"[\r\n]", log):
        found = progress_of(real_engine(engine).marks, line)
        if found and found.stage not in seen:
            seen.append(found.stage)
    return seen


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
def test_a_load_goes_through_every_stage_in_the_order_the_engine_declares(engine: str, tmp_path: Path) -> None:
    with Life(tmp_path, *WORDS[engine], **settings_of(engine)) as life:
        life.until_ready(READY_PATH[engine])
        log = life.until_said("ready to roll!" if engine == "sglang" else "Application startup complete")
    assert stages_seen(engine, log) == list(real_engine(engine).stages)


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
def test_progress_within_a_stage_can_be_counted(engine: str, tmp_path: Path) -> None:
    with Life(tmp_path, *WORDS[engine], **settings_of(engine)) as life:
        life.until_ready(READY_PATH[engine])
        lines = re.split(r"[\r\n]", life.log())
    counted = {str(found) for line in lines if (found := progress_of(real_engine(engine).marks, line))}
    assert {"weights 0/4", "weights 2/4", "weights 4/4", "graphs 3/10", "graphs 10/10"} <= counted


def test_sglang_answers_503_and_models_200_before_the_warm_up_ends(tmp_path: Path) -> None:
    with Life(tmp_path, *SGLANG, **settings_of("sglang", load_seconds=2.0)) as life:
        assert life.status("/ready") is None
        life.until_said("Uvicorn running on")
        early = {path: life.status(path) for path in ("/ready", "/health", "/ping", "/v1/models", "/model_info")}
        life.until_ready("/ready")
        late = {path: life.status(path) for path in ("/ready", "/health", "/ping", "/v1/models", "/server_info")}
    assert early == {"/ready": 503, "/health": 503, "/ping": 503, "/v1/models": 200, "/model_info": 200}
    assert set(late.values()) == {200}


def test_an_older_sglang_has_no_ready_and_a_ping_that_always_says_200(tmp_path: Path) -> None:
    with Life(tmp_path, *SGLANG, **settings_of("sglang", load_seconds=2.0, version="0.5.18")) as life:
        life.until_said("Uvicorn running on")
        assert (life.status("/ready"), life.status("/ping")) == (404, 200)


def test_vllm_refuses_connections_until_it_serves(tmp_path: Path) -> None:
    with Life(tmp_path, *VLLM, **settings_of("vllm", load_seconds=1.0)) as life:
        life.until_said("Starting vLLM server on")
        assert life.status("/health") is None
        life.until_ready()
        assert life.json("/version") == {"version": "0.33.0"}


def test_a_generic_server_says_503_while_it_loads(tmp_path: Path) -> None:
    settings = settings_of("generic", load_seconds=1.0, health_path="/healthz")
    with Life(tmp_path, *WORDS["generic"], **settings) as life:
        life.until_said("rehearsal: loading 0")
        assert life.status("/healthz") == 503
        life.until_ready("/healthz")
        assert life.chat()["choices"][0]["message"]["content"].startswith("This is a rehearsal")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_chat_answer_says_that_it_is_a_rehearsal_and_counts_its_tokens(engine: str, tmp_path: Path) -> None:
    with Life(tmp_path, *WORDS[engine], **settings_of(engine)) as life:
        life.until_ready(READY_PATH[engine])
        whole, cut = life.chat(), life.chat(max_tokens=3)
    assert whole["choices"][0]["message"]["content"].startswith("This is a rehearsal: no model is loaded.")
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert (cut["choices"][0]["message"]["content"], cut["choices"][0]["finish_reason"]) == ("This is a", "length")
    assert cut["usage"] == {"prompt_tokens": 6, "completion_tokens": 3, "total_tokens": 9}


def test_a_stream_is_tokens_then_usage_then_done(tmp_path: Path) -> None:
    body = {
        "model": "tiny",
        "prompt": "Hello",
        "max_tokens": 2,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with Life(tmp_path, *VLLM, **settings_of("vllm")) as life:
        life.until_ready()
        _, text = life.ask("/v1/completions", body)
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert [chunk["choices"][0]["text"] for chunk in chunks if chunk["choices"]] == ["This", " is", ""]
    assert chunks[-1]["usage"]["completion_tokens"] == 2


def test_embeddings_are_the_same_for_the_same_text(tmp_path: Path) -> None:
    with Life(tmp_path, *WORDS["generic"], **settings_of("generic")) as life:
        life.until_ready()
        rows = life.json("/v1/embeddings", {"model": "tiny", "input": ["a", "b", "a"]})["data"]
    assert rows[0]["embedding"] == rows[2]["embedding"] != rows[1]["embedding"]


def test_a_vllm_that_pools_embeds_and_has_no_path_that_generates(tmp_path: Path) -> None:
    with Life(tmp_path, *WORDS["vllm"], "--runner", "pooling", **settings_of("vllm")) as life:
        life.until_ready(READY_PATH["vllm"])
        embeds, _ = life.ask("/v1/embeddings", {"model": "tiny", "input": "a"})
        chat = life.ask("/v1/chat/completions", {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]})
        plain, _ = life.ask("/v1/completions", {"model": "tiny", "prompt": "Hi"})

    assert (embeds, chat[0], plain) == (200, 404, 404)
    assert json.loads(chat[1])["error"]["message"] == "Not Found"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", b"{not json", 400),
        ("/v1/chat/completions", {"model": "tiny", "messages": []}, 400),
        (
            "/v1/chat/completions",
            {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0},
            400,
        ),
        (
            "/v1/chat/completions",
            {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "max_tokens": 9999},
            400,
        ),
        ("/v1/chat/completions", {"model": "other", "messages": [{"role": "user", "content": "x"}]}, 404),
        ("/v1/nothing", {}, 404),
        ("/nothing", None, 404),
    ],
)
def test_a_wrong_request_gets_the_status_of_the_real_server(
    path: str, body: object, status: int, tmp_path: Path
) -> None:
    with Life(tmp_path, *VLLM, **settings_of("vllm")) as life:
        life.until_ready()
        assert life.ask(path, body)[0] == status


def test_an_api_key_guards_the_models(tmp_path: Path) -> None:
    with Life(tmp_path, *VLLM, env={"VLLM_API_KEY": "s3cret"}, **settings_of("vllm")) as life:
        life.until_ready()
        assert [life.ask("/v1/models")[0], life.ask("/v1/models", key="s3cret")[0]] == [401, 200]
        assert "s3cret" not in life.log()


@pytest.mark.parametrize(
    ("engine", "generated", "prompt", "ttft"),
    [
        (
            "sglang",
            "sglang:generation_tokens_total",
            "sglang:prompt_tokens_total",
            "sglang:time_to_first_token_seconds_count",
        ),
        ("vllm", "vllm:generation_tokens_total", "vllm:prompt_tokens_total", "vllm:time_to_first_token_seconds_count"),
    ],
)
def test_metrics_move_with_requests_alone(engine: str, generated: str, prompt: str, ttft: str, tmp_path: Path) -> None:
    with Life(tmp_path, *WORDS[engine], **settings_of(engine)) as life:
        life.until_ready(READY_PATH[engine])
        before = [life.metric(name) for name in (generated, prompt, ttft)]
        life.chat(max_tokens=5)
        assert before == [0, 0, 0]
        assert [life.metric(name) for name in (generated, prompt, ttft)] == [5, 6, 1]


def test_a_running_request_is_counted_while_it_runs(tmp_path: Path) -> None:
    with Life(tmp_path, *VLLM, **settings_of("vllm", token_seconds=0.05)) as life:
        life.until_ready()
        asking = threading.Thread(target=life.chat, kwargs={"max_tokens": 12})
        asking.start()
        time.sleep(0.2)
        during = life.metric("vllm:num_requests_running")
        asking.join()
        assert (during, life.metric("vllm:num_requests_running")) == (1, 0)


def test_sglang_has_no_metrics_without_the_flag(tmp_path: Path) -> None:
    with Life(tmp_path, *(word for word in SGLANG if word != "--enable-metrics"), **settings_of("sglang")) as life:
        life.until_ready("/ready")
        assert life.status("/metrics") == 404


@pytest.mark.parametrize("engine", ENGINES)
def test_sigterm_lets_the_running_request_finish_and_ends_with_0(engine: str, tmp_path: Path) -> None:
    with Life(tmp_path, *WORDS[engine], **settings_of(engine, token_seconds=0.05)) as life:
        life.until_ready(READY_PATH[engine])
        answers: list[str] = []
        asking = threading.Thread(target=lambda: answers.append(life.chat(max_tokens=8)["choices"][0]["finish_reason"]))
        asking.start()
        time.sleep(0.15)
        life.terminate()
        asking.join()
        assert (answers, life.code()) == (["length"], 0)


def test_a_draining_sglang_is_unhealthy_and_a_draining_vllm_is_not(tmp_path: Path) -> None:
    seen = {}
    for engine, path in (("sglang", "/health"), ("vllm", "/health")):
        folder = tmp_path / engine
        folder.mkdir()
        with Life(folder, *WORDS[engine], **settings_of(engine, token_seconds=0.1)) as life:
            life.until_ready(READY_PATH[engine])
            asking = threading.Thread(target=life.chat, kwargs={"max_tokens": 8})
            asking.start()
            time.sleep(0.2)
            life.terminate()
            life.until_said("SIGTERM received" if engine == "sglang" else "Shutting down")
            seen[engine] = life.status(path)
            asking.join()
    assert seen == {"sglang": 503, "vllm": 200}


def test_a_draining_vllm_answers_new_requests_with_500(tmp_path: Path) -> None:
    with Life(tmp_path, *VLLM, **settings_of("vllm", token_seconds=0.1)) as life:
        life.until_ready()
        asking = threading.Thread(target=life.chat, kwargs={"max_tokens": 8})
        asking.start()
        time.sleep(0.2)
        life.terminate()
        life.until_said("Shutting down")
        body = {"model": "tiny", "messages": [{"role": "user", "content": "x"}]}
        status = life.ask("/v1/chat/completions", body)[0]
        asking.join()
        assert status == 500


def test_sigterm_during_the_load_ends_it_by_the_signal(tmp_path: Path) -> None:
    with Life(tmp_path, *SGLANG, **settings_of("sglang", load_seconds=30)) as life:
        life.until_said("server_args=")
        life.terminate()
        assert life.code() == -15


# -- the command line --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "words", "says"),
    [
        ("sglang", ("sglang", "serve"), "error: the following arguments are required: --model-path/--model"),
        ("sglang", (*SGLANG[:10], "stray"), "error: unrecognized arguments: stray"),
        ("sglang", (*SGLANG, "--port", "many"), "error: argument --port: invalid int value: 'many'"),
        ("sglang", (*SGLANG, "--port"), "error: argument --port: expected one argument"),
        ("sglang", (*SGLANG, "--trust-remote-code", "yes"), "error: unrecognized arguments: yes"),
        ("vllm", (*VLLM, "--*bad*"), "error: unrecognized arguments: --*bad*"),
        ("vllm", ("vllm", "serve", "/model", "/other"), "error: unrecognized arguments: /other"),
    ],
)
def test_a_wrong_command_ends_as_argparse_ends_it(
    engine: str, words: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    with Life(tmp_path, *words, **settings_of(engine)) as life:
        assert life.code() == 2
        assert says in life.log()


def test_a_command_that_is_not_the_engines_is_not_found(tmp_path: Path) -> None:
    with Life(tmp_path, "sgland", "serve", "--model-path", "/model", **settings_of("sglang")) as life:
        assert (life.code(), "executable file not found" in life.log()) == (127, True)


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("sglang", ("sglang", "serve", "/model", *SGLANG[4:])),
        ("sglang", ("python3", "-m", "sglang.launch_server", *SGLANG[2:])),
        ("sglang", tuple("--tp" if word == "--tp-size" else word for word in SGLANG)),
        ("vllm", VLLM[2:]),
        ("vllm", ("python3", "-m", "vllm.entrypoints.openai.api_server", "--model", *VLLM[2:])),
        ("vllm", tuple(word.replace("-len", "_len") for word in VLLM)),
    ],
)
def test_every_way_to_write_the_command_serves_the_same_model(
    engine: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    with Life(tmp_path, *words, **settings_of(engine)) as life:
        life.until_ready(READY_PATH[engine])
        model = life.json("/v1/models")["data"][0]
    assert (model["id"], model["root"], model["max_model_len"]) == ("tiny", "/model", 4096)


def test_sglang_without_host_listens_on_loopback_alone(tmp_path: Path) -> None:
    words = [word for word in SGLANG if word not in {"--host", "127.0.0.1"}]
    with Life(tmp_path, *words, **settings_of("sglang")) as life:
        assert "Uvicorn running on http://127.0.0.1:" in life.until_said("ready to roll!")


def test_more_ranks_than_gpus_is_fatal(tmp_path: Path) -> None:
    with Life(tmp_path, *VLLM, **settings_of("vllm", gpus=2)) as life:
        assert life.code() == 1
        assert "World size (4) is larger than the number of available GPUs (2)" in life.log()


def test_a_port_in_use_shows_only_after_sglangs_load(tmp_path: Path) -> None:
    (first, second) = (tmp_path / "first", tmp_path / "second")
    first.mkdir()
    second.mkdir()
    with Life(first, *SGLANG, **settings_of("sglang")) as holder:
        holder.until_ready("/ready")
        words = [str(holder.port) if word == "PORT" else word for word in SGLANG]
        with Life(second, *words, **settings_of("sglang")) as life:
            assert life.code() == 1
            log = life.log()
    assert log.index("Load weight end") < log.index("[Errno 98] error while attempting to bind on address")


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (None, "LAUNCHPAD_REHEARSAL is not set"),
        ("{", "is no JSON"),
        ("{}", "needs engine, one of sglang, vllm, generic"),
        ('{"engine": "sglang", "speed": 3}', "knows no 'speed'"),
        ('{"engine": "sglang", "faults": ["explode"]}', "'explode' is no fault"),
    ],
)
def test_wrong_settings_end_it_at_once_with_one_line(told: str | None, says: str, tmp_path: Path) -> None:
    env = {} if told is None else {"LAUNCHPAD_REHEARSAL": told}
    done = subprocess.run([sys.executable, "-S", str(ENGINE)], env=env, capture_output=True, text=True, timeout=20)
    assert (done.returncode, len(done.stderr.splitlines()), says in done.stderr) == (2, 1, True)


# -- the cache ---------------------------------------------------------------------------------------------------------


def test_the_second_start_is_warm_and_quicker(tmp_path: Path) -> None:
    env, took = {"SGLANG_CACHE_DIR": str(tmp_path / "cache" / "sglang")}, []
    for _ in range(2):
        begun = time.monotonic()
        with Life(tmp_path, *SGLANG, env=env, **settings_of("sglang", load_seconds=2.0, cached=None)) as life:
            life.until_ready("/ready")
            took.append(time.monotonic() - begun)
            log = life.log()
    assert "Cache is warm" in log
    assert took[1] < took[0] - 0.3


# -- log lines against real ones ---------------------------------------------------------------------------------------


def shape(line: str) -> str:
    """A log line without what differs from start to start: times, numbers, names of models."""
    line = re.split(r"(?<=ServerArgs\()|(?<=args: \{)|(?<=with config: )", line)[0]
    line = re.sub(r"Init parallel", "Init torch distributed", line)
    line = re.sub(r"(type=|architecture: )\w+", r"\1MODEL", line)
    line = re.sub(r"dtype: [\w.]+", "dtype: TYPE", line)
    return re.sub(r"\d[\d,.:-]*", "#", line).strip()


@pytest.mark.parametrize(
    ("engine", "data", "words"),
    [
        ("sglang", "sglang-0.5.16.txt", (*SGLANG, "--cuda-graph-backend-decode", "disabled")),
        ("vllm", "vllm-0.26.0.txt", (*VLLM, "--enforce-eager")),
    ],
)
def test_every_kept_line_of_a_real_start_is_written_in_the_same_shape(
    engine: str, data: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    version = data.removesuffix(".txt").partition("-")[2]
    with Life(tmp_path, *words, **settings_of(engine, version=version, shards=1, load_seconds=1.2)) as life:
        life.until_ready("/health")
        log = life.until_said('"GET /health HTTP/1.1" 200 OK')
    written = {shape(line) for line in re.split(r"\n|(?<=it/s\])", log.replace("\r", "␍"))}
    real = [line for line in (DATA / data).read_text(encoding="utf-8").splitlines() if not line.startswith("# ")]
    missing = [line for line in real if not any(mine.startswith(shape(line)[:150]) for mine in written)]
    assert missing == []

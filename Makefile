# make help says what there is. Everything runs in .venv; nothing outside this folder is changed but Debian packages,
# where they are missing and you are root (docker.io, busybox-static, docker-compose).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WITH_DOCKERD := tests/support/with-dockerd
DEMO := .demo
DEMO_PROFILE := v4-flash-sglang-tp4
DEMO_ENV = eval "$$($(WITH_DOCKERD) env $(DEMO))"; export LAUNCHPAD_STATE_DIR="$(CURDIR)/$(DEMO)/state"

.PHONY: help demo demo-down test lint format types unit e2e e2e-systemd faults gpu tools e2e-vllm e2e-dynamo schemas bench clean

help: ## List what can be made
	sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(BIN)/launchpad: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "launchpad needs Python 3.11 or later; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.dev: $(BIN)/launchpad
	$(BIN)/pip install --quiet --group dev
	touch $@

demo: $(BIN)/launchpad ## From nothing to a chat answer of a rehearsed v4-flash-sglang-tp4 (no GPU needed)
	mkdir -p $(DEMO)
	$(WITH_DOCKERD) start $(DEMO)
	$(DEMO_ENV)
	$(BIN)/launchpad rehearse $(DEMO_PROFILE)
	$(BIN)/launchpad status
	$(BIN)/python tests/support/chat.py "$$($(BIN)/launchpad status $(DEMO_PROFILE) --json)"
	echo "export LAUNCHPAD_STATE_DIR='$(CURDIR)/$(DEMO)/state' PATH='$(CURDIR)/$(BIN)':\$$PATH" >$(DEMO)/env
	$(WITH_DOCKERD) env $(DEMO) >>$(DEMO)/env
	echo
	echo "Look around:  source $(DEMO)/env; launchpad status; launchpad events $(DEMO_PROFILE)"
	echo "It stays up until: make demo-down"

demo-down: ## Stop the demo and remove all it made
	if [ -d $(DEMO) ]; then
	  $(DEMO_ENV)
	  for folder in $(DEMO)/state/deployments/*/; do
	    [ -d "$$folder" ] || continue
	    $(BIN)/launchpad down "$$(basename "$$folder")" || echo "demo-down: goes on without it" >&2
	  done
	  $(WITH_DOCKERD) stop $(DEMO)
	  rm -rf $(DEMO)
	fi

test: $(VENV)/.dev tools lint types ## Lint, types, architecture, unit, contract and end-to-end tests on a real Docker Engine
	$(WITH_DOCKERD) run $(BIN)/python -m pytest

lint: $(VENV)/.dev ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev ## Let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy

unit: $(VENV)/.dev tools ## The tests that need no Docker Engine
	$(BIN)/python -m pytest -m "not docker and not e2e"

e2e: $(VENV)/.dev tools ## The tests that drive the launchpad command against a real Docker Engine
	$(WITH_DOCKERD) run $(BIN)/python -m pytest -m e2e

faults: $(VENV)/.dev tools ## Everything that can go wrong, provoked; writes docs/faults.md with the measured times
	LAUNCHPAD_WRITE_FAULTS=1 $(WITH_DOCKERD) run $(BIN)/python -m pytest tests/e2e/test_fault_matrix.py

gpu: $(VENV)/.dev ## The tests that need a real NVIDIA GPU: NVML as launchpad reads it (changes nothing)
	$(BIN)/python -m pytest -m gpu -rP

tools: ## What the tests use of Debian: busybox for images, docker-compose, a C compiler for the stand-in NVML, promtool
	missing=""
	[ -x /bin/busybox ] || missing="$$missing busybox-static"
	command -v docker-compose >/dev/null || missing="$$missing docker-compose"
	command -v cc >/dev/null || missing="$$missing gcc libc6-dev"
	if [ -n "$$missing" ]; then
	  if [ "$$(id -u)" != 0 ]; then echo "install first: sudo apt-get install -y$$missing" >&2; exit 1; fi
	  apt-get update -qq
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null
	fi
	if ! command -v promtool >/dev/null && [ ! -x $(VENV)/tools/promtool ]; then
	  # Out of Debian's package, which is not installed: that would start a Prometheus.
	  fetched=$$(mktemp -d) as_is="-o APT::Sandbox::User=root"
	  (cd "$$fetched"; apt-get $$as_is download -qq prometheus || { apt-get update -qq; apt-get $$as_is download -qq prometheus; }; dpkg -x prometheus_*.deb .)
	  mkdir -p $(VENV)/tools
	  cp "$$fetched/usr/bin/promtool" $(VENV)/tools/
	  rm -rf "$$fetched"
	fi

e2e-systemd: $(VENV)/.dev tools ## The unit under a real systemd, in a container: kills, hangs, giving up, reboots (some minutes)
	if [ ! -x /lib/systemd/systemd ]; then
	  if [ "$$(id -u)" != 0 ]; then echo "install first: sudo apt-get install -y systemd" >&2; exit 1; fi
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd >/dev/null
	fi
	$(WITH_DOCKERD) run $(BIN)/python -m pytest -v tests/e2e_systemd

e2e-vllm: $(VENV)/.dev ## A real vLLM on CPU through `launchpad up`: chats, hangs, two at once, pins (a quarter of an hour, 6 GB)
	$(WITH_DOCKERD) run $(BIN)/python tests/e2e_vllm/prepare.py -- $(BIN)/python -m pytest -v tests/e2e_vllm

e2e-dynamo: $(VENV)/.dev ## A real Dynamo frontend and mocker through `launchpad up`: restart, drain, down (4 minutes, 1 GB)
	$(WITH_DOCKERD) run $(BIN)/python tests/e2e_vllm/prepare.py demo-dynamo-mocker -- $(BIN)/python -m pytest -v tests/e2e_dynamo

schemas: $(VENV)/.dev ## Extract the engines' argument schemas again from their wheels (downloads several GB)
	$(BIN)/python -m launchpad.engines.regenerate

bench: $(VENV)/.dev tools ## The benchmarks; writes benchmarks/RESULTS.md (BENCH=--long: GPUs watched for ten minutes)
	$(WITH_DOCKERD) run $(BIN)/python -m benchmarks $(BENCH)

clean: demo-down ## Remove what was made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .cache dist build

.ONESHELL:
.SILENT:

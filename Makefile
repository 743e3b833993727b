# The project's verbs; `make` alone lists them. `check` is what continuous integration runs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CLIENTS := .clients
ENGINE := .engine
EXTRAS := serve,otel,grammar,las,e57,ray,vllm,train,bench,dev
CHECKPOINT ?= checkpoints/lamm-mini
# Arguments for the command behind a recipe: make test ARGS="tests/service -k stream"
ARGS ?=
# Processes of a whole run. Three keep two cores busy, for tests wait for servers and timers.
WORKERS ?= 3
# A whole run measures coverage and enforces its floor.
WHOLE = --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder \
	--cov --cov-report=term --cov-fail-under=93
CODE := lamm_model service training benchmark scripts
SCRIPTS := .ci/run scripts/*.sh docker/entrypoint.sh $(wildcard examples/*.sh)

.PHONY: help setup serve test lint types arch docs clients vllm check bench audit sbom clean

help:  ## list the recipes
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv and install everything into it (a rerun is instant)

$(STAMP): pyproject.toml constraints.txt scripts/install.sh scripts/python_venv.sh
	@scripts/python_venv.sh
	@scripts/install.sh "$(VENV)" "$(EXTRAS)"
	@touch $@

serve: setup  ## serve CHECKPOINT (checkpoints/lamm-mini) on http://127.0.0.1:8000
	@$(BIN)/lamm serve --checkpoint "$(CHECKPOINT)" $(ARGS)

# Kept bytecode saves each of some hundred Python processes from compiling the project.
test: setup  ## run the tests (ARGS go to pytest)
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(or $(strip $(ARGS)),$(WHOLE))

lint: setup  ## ruff, shellcheck, hadolint, bandit, secrets
	@$(BIN)/ruff check .
	@$(BIN)/shellcheck $(SCRIPTS)
	@$(BIN)/hadolint docker/Dockerfile
	@$(BIN)/bandit --quiet --recursive --configfile pyproject.toml $(CODE) \
		2> >(grep -v 'nosec encountered' >&2) # of lines whose parts have no finding
	@scripts/secrets.sh "$(BIN)"

types: setup  ## mypy --strict
	@$(BIN)/mypy

arch: setup  ## the import contracts of pyproject.toml
	@$(BIN)/lint-imports --no-cache

docs: setup  ## the documentation as a site in build/docs; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

clients: setup  ## OpenAI's and other clients against a service (ARGS go to pytest)
	@scripts/client_env.sh "$(CLIENTS)"
	@scripts/clients.sh "$(CLIENTS)" $(ARGS)

# Not part of `check`: the environment has 3.5 GB.
vllm: setup  ## the tests of the engines against a real vLLM on the CPU (ARGS go to pytest)
	@test -x "$(ENGINE)/bin/vllm" -a ! -e "$(ENGINE)/lamm-engine-incomplete" || \
		$(BIN)/lamm engine install vllm --cpu --force --dir "$(ENGINE)"
	@LAMM_VLLM_ENV="$(ENGINE)" $(BIN)/python -m pytest -m vllm tests/service/engine $(ARGS)

check: lint types arch clients test  ## all of the above, as continuous integration runs them

bench: setup  ## measure a service that runs at URL=http://127.0.0.1:8000
	@$(BIN)/lamm bench quality --suite mini --url "$${URL:-http://127.0.0.1:8000}" $(ARGS)

# Not part of `check`: it needs an advisory service, and its answer changes without a commit.
audit: setup  ## known advisories against the versions of constraints.txt (needs osv.dev)
	@scripts/audit.sh "$(BIN)" $(ARGS)

sbom: setup  ## the installed packages as a CycloneDX bill of materials in build/sbom.cdx.json
	@scripts/sbom.sh "$(BIN)" build/sbom.cdx.json

clean:  ## remove caches and reports; .venv, .clients and .engine stay
	@rm -rf .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build *.egg-info
	@find . \( -path ./$(VENV) -o -path ./$(CLIENTS) -o -path ./$(ENGINE) \) -prune -o -name __pycache__ -type d -print0 | xargs -0r rm -rf

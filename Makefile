# Two commands matter: `make demo` and `make test`. Each does all of its own set-up.
SHELL := /bin/bash
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PROTOS := $(sort $(wildcard proto/capacitybroker/v1/*.proto))
STUBS := clients/python/src

.PHONY: help demo test sim sim-long faults mutants check serve bench gen clean setup constraints release-image

help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(READY) ## The virtual environment, with everything in it

$(READY): constraints.txt pyproject.toml clients/python/pyproject.toml
	@./deploy/setup.sh "$(PYTHON)" "$(VENV)"
	@touch $@

demo: $(READY) ## Run the main job for real, and draw what came out
	@$(BIN)/broker demo

serve: $(READY) ## A broker with an embedded store, until interrupted
	@$(BIN)/broker serve

test: $(READY) ## All tests, fast ones first
	@$(BIN)/python -m tests

SEED ?= 0
sim: $(READY) ## One seed of the simulator, with the end of its trace: SEED=…
	@$(BIN)/python -m tests.simulator --seed $(SEED)

COUNT ?= 5000
sim-long: $(READY) ## COUNT seeds of the simulator, after those that `make test` runs
	@$(BIN)/python -m tests.simulator --first 300 --count $(COUNT)

faults: $(READY) ## Every fault of docs/reliability.md, injected into real processes
	@$(BIN)/python -m pytest tests/faults

mutants: $(READY) ## Whether the tests notice faults that are put into the code
	@$(BIN)/python -m tests.mutants

check: $(READY) ## Lint, format, types, import contracts, API gates, generated code, dependencies
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/buf lint proto
	@$(BIN)/buf build proto -o $(VENV)/api.binpb
	@$(BIN)/buf breaking $(VENV)/api.binpb --against proto/released.binpb --config proto/buf.yaml
	@$(BIN)/python clients/generate.py --check
	@$(BIN)/python -m pip check

gen: $(READY) ## Stubs and the published JSON Schema, from the API
	@$(BIN)/python clients/generate.py

release-image: $(READY) ## Make today's API the one that later changes may not break
	@$(BIN)/buf build proto -o proto/released.binpb

constraints: $(READY) ## Resolve all dependencies anew, with hashes and without addresses
	@$(BIN)/python -m pip install --quiet uv
	@grep -v '"capacitybroker",' pyproject.toml > $(VENV)/resolve.toml
	@mkdir -p $(VENV)/resolve && mv $(VENV)/resolve.toml $(VENV)/resolve/pyproject.toml
	@cd $(VENV)/resolve && ../bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --group dev pyproject.toml -o ../../constraints.txt

bench: $(READY) ## Figures of ledger and planning; PROBLEMS=… and GAP=… name public data
	@$(BIN)/python -m bench

clean: ## Everything that was made
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis demo-out replay-out broker-data
	@find . -name __pycache__ -prune -exec rm -rf {} +

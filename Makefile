# `make` or `make help` lists the targets. Each sets up .venv first, if that is not done yet.
PYTHON_BIN := .venv/bin/python
SEED ?= 0

.DEFAULT_GOAL := help
.PHONY: help setup setup-alfworld demo demo-alfworld test lint lint-scripts test-unit test-e2e test-slow test-faults test-gpu clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 23

setup: ## install everything into .venv (TORCH_INDEX= chooses the index of the CPU torch)
	@bash scripts/setup.sh

setup-alfworld: ## add what plays ALFWorld to .venv (needs g++, make, cmake)
	@bash scripts/setup_alfworld.sh

demo: ## train the demo with HölderPO on this machine's CPU (SEED=0)
	@bash scripts/setup.sh $(PYTHON_BIN) -m data_prep.column_addition --seed $(SEED)
	@PYTHON=$(PYTHON_BIN) bash scripts/demo.sh $(SEED)

demo-alfworld: setup-alfworld ## train the ALFWorld demo on this machine's CPU (SEED=0)
	@PYTHON=$(PYTHON_BIN) bash scripts/train_alfworld.sh alfworld_demo seed=$(SEED) \
	  run_dir=outputs/demo-alfworld

test: lint test-unit ## lint, format, types and unit tests

lint: setup ## lint, format and types; scripts and Dockerfile
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@$(MAKE) --no-print-directory lint-scripts

lint-scripts: ## scripts and Dockerfile alone, with the tools that are in .venv
	@if [ -x .venv/bin/shellcheck ]; then .venv/bin/shellcheck scripts/*.sh .ci/run; \
	  else echo "lint: shellcheck has no wheel for $$(uname -m); the scripts are not checked"; fi
	@.venv/bin/hadolint Dockerfile

test-unit: setup ## unit tests
	@$(PYTHON_BIN) -m pytest -n auto --maxprocesses 4 --dist worksteal \
	  -m "not e2e and not slow and not gpu and not faults"

test-e2e: setup ## real launches, end to end
	@$(PYTHON_BIN) -m pytest -m "e2e and not faults"

test-slow: setup ## slow tests, by hand
	@$(PYTHON_BIN) -m pytest -m "slow and not faults"

test-faults: setup ## processes are killed and hang, by hand
	@$(PYTHON_BIN) -m pytest -m faults

test-gpu: setup ## tests that need a GPU, by hand
	@$(PYTHON_BIN) -m pytest -m "gpu and not faults"

clean: ## remove generated data, outputs and caches (not .venv)
	rm -rf data outputs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

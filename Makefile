# Everyday commands. `make` alone lists them.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
VENV := .venv
RUN := $(VENV)/bin
# The tests of a file run in one process; tests/scheduling.py chooses it. Tests on servers wait much, so there are four processes.
PARALLEL = -n $(PROCESSES) --dist loadfile
PROCESSES = 4
# Kept compiled, where the environment says otherwise: else each of some hundred processes compiles its modules again.
export PYTHONDONTWRITEBYTECODE =
NEEDS_PYTHON = test -n "$(PYTHON)" || { echo "esblend needs Python 3.11 or newer with venv (Debian: apt-get install python3-venv);" \
	"to choose one: make PYTHON=/path/to/python3" >&2; exit 1; }

# test-programs comes first, so that a missing program ends `make test` before the long installation. Never in parallel.
.NOTPARALLEL:
.PHONY: help install demo test test-programs test-download test-unit test-versions test-chart docs cli-reference screenshots relevance fuzz lint audit format bench clean
.DEFAULT_GOAL := help

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## Create .venv with everything in it

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(NEEDS_PYTHON)
	@test -x $(RUN)/python || "$(PYTHON)" -m venv $(VENV)
	@# Python compiles the modules that are imported. To compile all of them takes as long as the rest of the installation.
	$(RUN)/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt -e '.[local,worker,files,lab,train,tracing,clients,dev]'
	@touch $(VENV)/.installed

demo: install ## Start everything, index Python's documentation, search it
	@$(RUN)/esblend demo

test: test-programs test-download ## Run all tests: unit, real servers, command line
	$(RUN)/python -m pytest $(PARALLEL)

test-programs: ## Install the programs that the tests start (Debian), or print how
	@$(NEEDS_PYTHON)
	@"$(PYTHON)" -m tests.programs install

test-download: install ## Download what the tests start: Elasticsearch (950 MB), and a JDK if none is installed
	@$(RUN)/python -m tests.programs download

test-unit: PROCESSES = 2
test-unit: install ## Run the tests without servers
	$(RUN)/python -m pytest $(PARALLEL) -p no:schemathesis tests/unit

test-versions: test-programs install ## Run the tests of other Elasticsearch versions: 8.14 and 8.16
	ESBLEND_TEST_VERSIONS="8.14 8.16" $(RUN)/python -m pytest tests/real/test_versions.py

test-chart: install ## Lint and render the Helm chart with Helm's library (250 MB)
	$(RUN)/python -m pip install --disable-pip-version-check helm-python-sdk==0.2.2
	$(RUN)/python -m pytest tests/unit/test_deploy.py

fuzz: install ## Try thousands of new generated requests
	ESBLEND_HYPOTHESIS_PROFILE=fuzz $(RUN)/python -m pytest tests/unit/query/language/test_spoiled_bodies.py tests/real/test_hostile_requests.py

lint: install ## Check format, style, types and import directions
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports

audit: install ## Check licences, and known vulnerabilities where the registry provides them
	$(RUN)/python .ci/audit.py

format: install ## Format the code and apply the linter's fixes
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

bench: install ## Measure; results go to bench/results
	$(RUN)/python -m bench

relevance: install ## Measure relevance again, or only CELLS='cranfield/*'; writes docs/relevance.md
	$(RUN)/python -m bench.relevance $(CELLS)

docs: install ## Build the documentation into site/
	$(RUN)/mkdocs build --strict

cli-reference: install ## Write docs/cli.md from the commands
	$(RUN)/python -m esblend.cli.reference > docs/cli.md

screenshots: install ## Make the pictures of docs/images: Chromium's, and the terminal's recording
	$(RUN)/python -m tests.screenshots docs/images

clean: ## Remove .venv and the tools' files
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# Needs only a Python >= 3.11 and make; `make help` lists what there is.
# Another Python: make PYTHON=/path/to/python3    More for pytest: make test ARGS="-k journal"

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
ARGS :=
PEERS :=
# auto: the lock, or else the ranges of pyproject.toml; yes: the lock or nothing; no: the ranges
LOCKED := auto
RUN := .venv/.installed-run
TEST := .venv/.installed-test
SOURCES := orch worker.py beat.py tests examples bench scripts
UV_COMPILE := $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links \
	--custom-compile-command 'make lock'

# The first of these that runs and is new enough; looked for only when a rule needs it. It is
# run, not just found, since a version manager puts names on PATH that answer with an error.
PYTHON = $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$python; break; }; done)
BOOTSTRAP = @python='$(PYTHON)'; \
	if ! "$${python:-false}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo "no Python 3.11 or newer found (tried: $${python:-python3, python3.14 ... python});" \
			"install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	LOCKED='$(LOCKED)' "$$python" scripts/bootstrap.py

.PHONY: help demo dev test chaos bench check lock dist clean

help: ## show this list
	@echo "usage: make TARGET"
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-10s %s\n", $$1, $$2 }'

demo: $(RUN) ## run a workflow on a CSV file, with a server and workers of its own
	$(BIN)/orch run data_processing --input-file examples/sales.json $(ARGS)

dev: $(TEST) ## install everything for work on the project into .venv
	@echo "ready: .venv/bin/orch --help, .venv/bin/celery -A worker worker, make test"

# 5 is pytest's word for "nothing selected", which ARGS may well bring about in one of the two.
NONE_SELECTED = $(if $(strip $(ARGS)),|| [ $$? = 5 ])

# Two at a time, but for those that kill processes and measure how soon the work goes on; a few of
# these with RabbitMQ, too.
test: $(TEST) ## run the test suite, without the tests that take minutes
	$(BIN)/python -m pytest tests -m "not long" --ignore=tests/chaos --ignore=tests/rabbitmq -n 2 $(ARGS) $(NONE_SELECTED)
	$(BIN)/python -m pytest tests/chaos -m "not long and not rabbitmq" $(ARGS) $(NONE_SELECTED)
	CHAOS_BROKER=rabbitmq $(BIN)/python -m pytest tests/rabbitmq tests/chaos \
		-m "(kernel or rabbitmq) and not long" -k "not threads and not solo" $(ARGS) $(NONE_SELECTED)

chaos: $(TEST) ## kill workers and servers under load, in the long form (minutes)
	ORCH_CHAOS=long $(BIN)/python -m pytest tests/chaos --timeout=3600 $(ARGS)
	CHAOS_HANDOFF=off $(BIN)/python -m pytest tests/chaos -m "not long" $(ARGS) $(NONE_SELECTED)
	CHAOS_BROKER=rabbitmq $(BIN)/python -m pytest tests/chaos -m "not long" $(ARGS) $(NONE_SELECTED)

bench: $(RUN) ## measure orch beside Celery (PEERS=yes: others, too; all of it is drawn into docs/)
	$(if $(filter yes,$(PEERS)),$(BIN)/python -m bench.peers)
	$(BIN)/python -m bench $(or $(ARGS),$(if $(filter yes,$(PEERS)),--draw docs))

check: $(TEST) ## lint, formatting and types: ruff and mypy
	$(BIN)/python -m ruff check $(wildcard $(SOURCES))
	$(BIN)/python -m ruff format --check $(wildcard $(SOURCES))
	$(BIN)/python -m mypy

# The runtime lock first: the others are held to its versions, so that what is tested is what
# is shipped. With UPGRADE=1 to the newest versions, else only what pyproject.toml asks for.
lock: $(TEST) ## write the requirements*.lock files anew (UPGRADE=1: newest versions)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
	$(UV_COMPILE) $(if $(UPGRADE),--upgrade) --extra all pyproject.toml -o requirements.lock
	$(UV_COMPILE) $(if $(UPGRADE),--upgrade) --extra test -c requirements.lock pyproject.toml -o requirements-dev.lock
	printf '%s\n' hatchling editables | $(UV_COMPILE) $(if $(UPGRADE),--upgrade) -c requirements-dev.lock - -o requirements-build.lock

dist: $(TEST) ## build the sdist and the wheel into dist/
	rm -rf dist
	$(BIN)/python -m hatchling build

clean: ## remove .venv, caches and what was built
	rm -rf .venv .venv-peers build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN): pyproject.toml requirements.lock requirements-build.lock scripts/bootstrap.py
	$(BOOTSTRAP) run

$(TEST): pyproject.toml requirements-dev.lock scripts/bootstrap.py
	$(BOOTSTRAP) test

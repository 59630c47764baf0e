# Thin names over plain commands. On a machine with only Python 3.11 to 3.13, make and git, every target does its own
# set-up: a virtualenv in .venv, pinned by constraints.txt. Nothing needs root, except the packages of `test-system`.
#
#   make demo ARGS="--headless --json"      arguments for the demo
#   make test ARGS="tests/facts -x"         arguments for pytest
#   make test PYTHON=/path/to/python3.12    choose the interpreter the .venv is made with

VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
SEEDS  ?= 10000
START  ?= 0
GAUNTLET_SEEDS ?= 100000
PYTHON ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-system sim gauntlet lint format types bench facts-page dist clean

help:            ## list the targets
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

demo: $(VENV)/.ready-base          ## two replicas in two processes converse live in the terminal
	@$(BIN)/antiphon demo $(ARGS)

test: $(VENV)/.ready-dev           ## every test that needs no Debian package
	@$(BIN)/python -m pytest $(ARGS)

test-system: $(VENV)/.ready-dev    ## the tests that need Debian packages (strace, nats-server, chromium, e2fsprogs) or root (mounts); installs what is missing
	@missing=; command -v strace >/dev/null || missing="strace"; \
	command -v nats-server >/dev/null || missing="$$missing nats-server"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v mkfs.ext4 >/dev/null || [ -x /usr/sbin/mkfs.ext4 ] || missing="$$missing e2fsprogs"; \
	[ -z "$$missing" ] || { \
	  echo "==> installing Debian's $$missing (asks for sudo unless you are root)"; \
	  if [ "$$(id -u)" = 0 ]; then as_root=; else as_root=sudo; fi; \
	  $$as_root apt-get update && $$as_root apt-get install -y --no-install-recommends $$missing; }
	@$(BIN)/python -m pytest -m system $(ARGS)

sim: $(VENV)/.ready-base           ## live through SEEDS seeds of simulated misfortune (make sim SEEDS=100000 START=0)
	@$(BIN)/antiphon sim --seeds $(SEEDS) --start $(START) $(ARGS)

gauntlet: $(VENV)/.ready-dev       ## the long lanes: every `long` test, all planted bugs, ten times the seeds; hours
	@$(BIN)/python -m pytest -m long $(ARGS)
	@$(BIN)/antiphon sim --seeds $(GAUNTLET_SEEDS) --start 1000000

lint: $(VENV)/.ready-dev           ## ruff's rules and format, and the floors between rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.ready-dev         ## rewrite every file as `make lint` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.ready-dev          ## mypy --strict
	$(BIN)/mypy

bench: $(VENV)/.ready-dev          ## the figures, each beside its reference of the same run
	@$(BIN)/python -m benchmarks $(ARGS)

facts-page: $(VENV)/.ready-dev     ## docs/facts.md, drawn from the registry
	$(BIN)/python -m antiphon.app.catalog_page > docs/facts.md

dist: $(VENV)/.ready-dev           ## wheel and sdist into dist/, their contents compared with git
	$(BIN)/python -m hatchling build -d dist
	$(BIN)/python .ci/compare_wheel.py dist/*.whl

clean:           ## remove the .venv, builds and every tool's cache
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so that an interrupted set-up is taken up again instead of being believed.
$(VENV)/.ready-dev: $(VENV)/.made pyproject.toml constraints.txt
	@echo "==> installing antiphon with its test tools into $(VENV) (once; a minute or two)"
	@$(BIN)/python -m pip install -c constraints.txt -e '.[dev,notebook,web,tui]'
	@touch $(VENV)/.ready-base $@

$(VENV)/.ready-base: $(VENV)/.made pyproject.toml constraints.txt
	@echo "==> installing antiphon into $(VENV) (once; under a minute)"
	@$(BIN)/python -m pip install -c constraints.txt -e .
	@touch $@

$(VENV)/.made:
	@PYTHON="$(PYTHON)" .ci/make-venv $(VENV)
	@touch $@

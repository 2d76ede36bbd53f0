# The course's commands. `make` alone explains them.

PYTHON ?= python3
VENV   := .venv
# Threads that wait must not spin, or a second job on the machine slows both down.
export OMP_WAIT_POLICY := PASSIVE
# The compiled package rebuilds itself on import with the tools of the virtual environment.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONUTF8 := 1
# PyTorch's CPU build, where plain pip would fetch gigabytes of CUDA packages: see README.md.
TORCH_INDEX ?=
PROFILE ?= quick

RUN := $(VENV)/bin/python
# pip writes into a log; when it fails the log's end is shown, for --quiet would hide why versions do not fit together.
LOG := $(VENV)/setup.log
pip_install = $(RUN) -m pip install --disable-pip-version-check --progress-bar off $(1) >$(LOG) 2>&1 \
  || { tail -n 40 $(LOG); echo "pip could not install this; the reason stands above, the whole log in $(LOG)"; exit 1; } >&2

.DEFAULT_GOAL := help
.PHONY: help setup book test test-deep store lab html lint clean

help: ## Show this help
	@echo "bnnlib: a course on binary neural networks that runs. Commands:"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'
	@echo "Variables: PYTHON=$(PYTHON) (>= 3.11)  PROFILE=quick|full (for book)  TORCH_INDEX=URL (see README.md)"

setup: $(VENV)/.package ## Set up the virtual environment, the pinned packages and the compiled extension

$(VENV)/.requirements: requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "bnnlib needs Python >= 3.11, $(PYTHON) is $$($(PYTHON) --version 2>&1); try make PYTHON=python3.11"; exit 1; }
	@$(RUN) -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); } \
	  || { rm -rf $(VENV); echo "$(PYTHON) could not make a virtual environment (on Debian: apt install python3-venv)"; exit 1; }
	@echo "Installing the pinned packages (a few minutes the first time) ..."
	@$(call pip_install,$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements.txt)
	@touch $@

$(VENV)/.package: $(VENV)/.requirements pyproject.toml meson.build bnnlib/kernels/meson.build
	@echo "Compiling and installing bnnlib ..."
	@$(call pip_install,--no-build-isolation --no-deps --editable .)
	@touch $@

book: setup ## Execute a copy of every chapter and render the book from it: _build/html/index.html
	@$(RUN) tools/book.py execute --profile $(PROFILE)
	@$(RUN) tools/book.py render --executed
	@echo "The book: _build/html/index.html"

html: setup ## Render the stored outputs without executing anything
	@$(RUN) tools/book.py render

test: setup ## Unit tests, notebooks against their stored outputs, the rendered book
	@$(RUN) -m ruff check .
	@OMP_NUM_THREADS=1 $(RUN) -m pytest tests --ignore tests/rendered --ignore tests/deep -n 2 --dist worksteal
	@$(RUN) tools/book.py check

test-deep: setup ## What is too long for a person's loop: random matrices by the thousand, compiled networks
	@$(RUN) -m pytest tests/deep -n 2 --dist loadfile

store: setup ## Execute the chapters and store their outputs in book/
	@$(RUN) tools/book.py store

lab: setup ## Open JupyterLab in the book, ready to run
	@$(RUN) -m jupyter lab book

lint: setup ## Sort imports and fix what ruff can fix
	@$(RUN) -m ruff check --fix .

clean: ## Remove what was built (the installed packages stay)
	@rm -rf _build build $(VENV)/.package

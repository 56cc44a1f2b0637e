# Everything a newcomer or CI calls. Needs Python 3.11, 3.12 or 3.13 and make; all else goes into .venv.

PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3 python; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)
# The release that the tests run on. A CPU build saves gigabytes: where pip does not find one by itself,
# `make .venv TORCH=path/to/torch-cpu.whl`.
TORCH ?= torch==2.13.0
BACKEND ?= tensorflow

BIN := .venv/bin
INSTALLED := .venv/.installed
PYTEST := $(BIN)/python -m pytest
# Two processes of tests; each takes up to 3 GB of memory.
WORKERS ?= 2
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

export TF_CPP_MIN_LOG_LEVEL ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help .venv demo test lint format clean test-faults test-backbones fuzz \
	test-once-and-tensorflow test-once test-tensorflow test-jax test-torch

help: ## this list
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

# --- Environment ---

.venv: $(INSTALLED) ## a virtual environment with the package, its three backends and the developer's tools

$(INSTALLED): pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 found: install one, or make .venv PYTHON=path" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "Installing $(TORCH), TensorFlow, JAX and the rest: a few minutes, mostly downloads."
	$(BIN)/python -m pip install -qq "$(TORCH)" --editable ".[jax,torch,dev]"
	$(BIN)/python -m pip check
	@touch $@

# --- Try it ---

demo: $(INSTALLED) ## a made-up city, a small network trained on it, and its pictures (all anew, under demo/)
	rm -rf demo
	$(BIN)/python cli.py data synthesize --output demo/city
	$(BIN)/python cli.py train --config configs/synthetic.yaml --backend $(BACKEND) --data demo/city --output demo/run
	$(BIN)/python cli.py evaluate demo/run --backend $(BACKEND) --config configs/synthetic.yaml --data demo/city --json demo/scores.json
	$(BIN)/python cli.py predict demo/run --backend $(BACKEND) demo/city/leftImg8bit/val --output demo/pictures --overlay --importance
	@printf '%s\n' '' 'The demo is done:' \
	  '  demo/city         the made-up street scenes and their labels, in the layout of Cityscapes' \
	  '  demo/run          the training run: network, curves, first batches; tensorboard --logdir demo/run' \
	  '  demo/scores.json  mIoU, the IoU of each class' \
	  '  demo/pictures     what the network sees in each frame, and which regions it looked at twice' \
	  '' 'Next:' \
	  '  . .venv/bin/activate' \
	  '  python cli.py predict fornet_s_imagenet_camvid YOUR.jpg --output photo --overlay    # a photograph of yours' \
	  '  python cli.py evaluate demo/run --top-k 0.1' \
	  '  make demo BACKEND=jax                                                   # the same on JAX or torch'

# --- Check ---

test: $(INSTALLED) ## linters, types, and all tests on all three backends (of one backend: make test-jax)
	@$(MAKE) --no-print-directory --keep-going lint test-once-and-tensorflow test-jax test-torch

lint: $(INSTALLED) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# In one session: its start and its end take half a minute.
test-once-and-tensorflow: $(INSTALLED)
	KERAS_BACKEND=tensorflow $(PYTEST) $(PARALLEL)

test-once: $(INSTALLED) ## tests and docstring examples that do not depend on the backend
	KERAS_BACKEND=tensorflow $(PYTEST) $(PARALLEL) -m "not backend"

# One OpenMP thread: torch's spin while they wait, which takes minutes when the cores are busy.
test-torch: export OMP_NUM_THREADS = 1
ifeq ($(BACKEND),torch)
test-faults: export OMP_NUM_THREADS = 1
endif
test-tensorflow test-jax test-torch: test-%: $(INSTALLED)
	KERAS_BACKEND=$* $(PYTEST) $(PARALLEL) -m backend tests

test-faults: $(INSTALLED) ## runs killed at 20 random steps, compiled steps, four devices, on the backend of BACKEND (minutes)
	KERAS_BACKEND=$(BACKEND) FORNET_KILLS=20 $(PYTEST) $(addprefix tests/training/test_,resume.py checkpoint.py compile.py devices.py)

test-backbones: $(INSTALLED) ## backbones of KerasHub and KerasCV, which it installs, from local folders
	$(BIN)/python -m pip install -qq --editable ".[keras-hub,keras-cv]"
	KERAS_BACKEND=tensorflow $(PYTEST) tests/backbones tests/model/test_hostile_models.py

fuzz: $(INSTALLED) ## mutated images, lists, configurations and model folders against the readers, for SECONDS (300)
	$(BIN)/python -m pip install -qq --editable ".[fuzz]"
	TF_CPP_MIN_LOG_LEVEL=3 PYTHONPATH=. $(BIN)/python tests/fuzz/fuzz_readers.py -max_total_time=$(or $(SECONDS),300) \
	  -rss_limit_mb=4000 -max_len=4096 -timeout=20

format: $(INSTALLED) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment, caches and the demo
	rm -rf .venv build dist demo *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

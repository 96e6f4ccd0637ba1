# The commands of this project. `make demo` and `make test` each work first on a fresh clone: they install what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUN := $(BIN)/python -m pipeline

.DEFAULT_GOAL := help
.PHONY: help install demo cifar10 finetune evaluate test slurm-test check format schema shard benchmark clean

help: ## list the commands
	@echo "make COMMAND"
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  \1\t\2/' | expand -t 14

install: $(INSTALLED) ## create .venv and install the project into it

$(INSTALLED): pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 13) else f"error: {sys.executable} is Python {v.major}.{v.minor}; Python 3.11 or 3.12 is needed. Next: make PYTHON=python3.11 install")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt --editable '.[dev]'
	@touch $@

demo: install ## the whole chain on real photographs, a few minutes; DATA=folder, DATA=cifar10 or DATA=imagenette for others
	@$(RUN) chain configs/chain/demo.yaml $(if $(DATA),data='$(DATA)' out='runs/demo-$(notdir $(patsubst %/,%,$(DATA)))')

cifar10: install ## the chain on CIFAR-10 with all its comparisons; DATA=folder if you have it
	@$(RUN) chain configs/chain/cifar10.yaml $(if $(DATA),data='$(DATA)')

shard: install ## images into shards: SRC=folder, list, archive or URL, OUT=folder; or CONFIG=recipe.yaml
	@$(RUN) shard $(if $(CONFIG),'$(CONFIG)',configs/shard/folder.yaml) $(if $(SRC),source='$(SRC)') $(if $(OUT),out='$(OUT)')

benchmark: install ## packing beside its peers: DATA=folder or tar of JPEGs; JSON=file
	@$(BIN)/python -m tests.benchmarks.shard --data '$(DATA)' --json '$(or $(JSON),benchmark.json)'

finetune: install ## released weights and a folder of pictures into a classifier: CKPT=file, DATA=folder, OUT=folder, MINUTES=30
	@$(RUN) adapt $(if $(CKPT),weights='$(CKPT)') $(if $(DATA),data='$(DATA)') $(if $(OUT),out='$(OUT)') $(if $(MINUTES),minutes=$(MINUTES))

evaluate: install ## what weights are worth on labelled pictures: CKPT=file or run, DATA=folder, OUT=folder
	@$(if $(wildcard $(CKPT)/artifact.json),:,$(RUN) fetch weights='$(CKPT)' out='$(or $(OUT),runs/evaluate)/fetch')
	@$(RUN) chain configs/chain/evaluate.yaml features.checkpoint='$(if $(wildcard $(CKPT)/artifact.json),$(CKPT),$(or $(OUT),runs/evaluate)/fetch)' $(if $(DATA),data='$(DATA)') $(if $(OUT),out='$(OUT)')

test: install ## the test suite
	@$(BIN)/python -m pytest

slurm-test: install ## a real SLURM of three nodes on this machine, as root: jobs, chains, signals, lost nodes
	@SLURM_TEST=1 $(BIN)/python -m pytest tests/slurm

check: install ## lint, format, types, layers, links
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest tests/test_links.py tests/test_schemas.py

format: install ## put the code into its format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

schema: install ## JSON Schema of every recipe, for editors that complete YAML
	@$(RUN) schema configs/schema

clean: ## remove .venv and caches; runs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info

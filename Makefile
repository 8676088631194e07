# Everything a clone needs, one word each: `make help` lists them.

SHELL := bash
BIN := .venv/bin
INSTALLED := .venv/.installed
METAWORLD := .venv-metaworld

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help train test test-metaworld lint lock clean rendering

help: ## Say what there is to make.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

train: $(INSTALLED) rendering ## Train on the bundled demonstration; ARGS="--seed 1" adds flags.
	$(BIN)/ilfo train --preset quickstart $(ARGS)

# One thread for each worker: two workers on two cores then measure times reliably.
test: export OMP_NUM_THREADS := 1
test: $(INSTALLED) rendering ## Run the whole test suite; ARGS="-k transport" narrows it.
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

test-metaworld: export OMP_NUM_THREADS := 1
test-metaworld: $(METAWORLD)/.installed rendering ## Run the tests that need Meta-World, and with it an older MuJoCo.
	PYTHONPATH=$(CURDIR) $(METAWORLD)/bin/python -m pytest -n 2 -m metaworld $(ARGS)

lint: $(INSTALLED) ## Check lint, format and types.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

lock: ## Bring requirements.lock in line with pyproject.toml; ARGS=--upgrade renews every pin.
	@tools=$$(mktemp -d) && trap 'rm -rf "$$tools"' EXIT && \
	.ci/venv "$$tools" && "$$tools/bin/pip" install --disable-pip-version-check --quiet uv && \
	UV_CUSTOM_COMPILE_COMMAND="make lock" "$$tools/bin/uv" pip compile --quiet --no-config \
		--universal --python-version 3.11 --annotation-style line --extra dev --extra keypoints \
		--extra lerobot-format --extra ray --extra robotics --extra sb3 --extra torchrl \
		--output-file requirements.lock $(ARGS) pyproject.toml

clean: ## Remove build products and caches; runs/ and .venv stay.
	rm -rf build dist *.egg-info MUJOCO_LOG.TXT .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*/*' -prune -exec rm -rf {} +

# A first install that was cut short has no stamp, and starts over: half a package would look like a whole one.
$(INSTALLED): requirements.lock pyproject.toml setup.cfg
	@[[ -e $@ ]] || .ci/venv .venv
	@rm -f $@
	@echo "Installing the packages of requirements.lock: some GB and some minutes the first time."
	$(BIN)/python -m pip install --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Meta-World and its MuJoCo alone: whatever else is imported there lies in .venv.
$(METAWORLD)/.installed: $(INSTALLED)
	@.ci/venv $(METAWORLD)
	@site='import sysconfig; print(sysconfig.get_path("purelib"))' && \
	$(BIN)/python -c "$$site" > "$$($(METAWORLD)/bin/python -c "$$site")/beneath.pth"
	$(METAWORLD)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps metaworld==3.1.1 mujoco==3.3.0
	@touch $@

rendering: $(INSTALLED)
	@.ci/rendering $(BIN)/python

# make run           install into .venv and simulate the main example
# make test          lint, type check and all tests
# make docs          the documentation as a site, in out/docs
# make lock          pin every dependency anew, in requirements.lock
# make test-oldest   all tests on the lowest versions that pyproject.toml admits
# make test-newest   all tests on the newest versions of everything
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
UV := $(BIN)/uv
COMPILE := $(UV) pip compile --quiet pyproject.toml --extra plots --extra sensitivity --extra search --extra cluster --extra tables --extra torch --extra datasets
export OMP_NUM_THREADS ?= 1
# Hundreds of short processes load the package: its bytecode is kept, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test lint warm format docs lock test-oldest test-newest clean

run: $(READY)
	$(BIN)/cimsim run arch_configs/halora_rram_sram.json workloads/llama3.2_1b_r4_p512_d128.json \
		--baseline arch_configs/gpu/a100_sxm4_80gb.json -o out

test: $(READY)
	$(MAKE) --jobs=2 lint warm
	$(BIN)/pytest -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Assertions rewritten and kernels compiled once, beside mypy: both test processes would do it.
warm: $(READY)
	$(BIN)/pytest --collect-only -qq > $(VENV)/collected.txt || (cat $(VENV)/collected.txt; exit 1)
	$(BIN)/cimsim run halora_rram_sram llama3.2_1b_r4_p512_d128 --pipeline token --bounds > $(VENV)/warm.txt
	$(BIN)/cimsim mvm ahwa_pcm_pmca > $(VENV)/warm.txt

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "out/docs/index.html"

lock: $(READY)
	$(COMPILE) --group dev --group cpu --universal --python-version 3.11 --upgrade \
		--custom-compile-command "make lock" --output-file requirements.lock

# Each in an environment of its own; torch is the one from PyPI, with gigabytes of CUDA packages.
test-oldest: $(READY)
	$(COMPILE) --group test --resolution lowest-direct --python $(PYTHON) --output-file .venv-oldest.txt
	$(call test_with,.venv-oldest)

test-newest: $(READY)
	$(COMPILE) --group test --upgrade --python $(PYTHON) --output-file .venv-newest.txt
	$(call test_with,.venv-newest)

define test_with
	$(UV) venv --quiet --clear --python $(PYTHON) $(1)
	$(UV) pip install --quiet --python $(1) --requirements $(1).txt
	$(UV) pip install --quiet --python $(1) --no-deps --editable .
	$(1)/bin/python -m pytest -n 2
endef

clean:
	rm -rf .venv .venv-oldest* .venv-newest* out build dist *.egg-info

# Of 300 MB of sources only what is loaded is compiled: the last line does, pip would take minutes.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -c "import matplotlib.pyplot, numba, peft, scipy.stats"
	touch $(READY)

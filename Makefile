# make run    install into .venv and simulate the main example
# make test   lint, type check and all tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
export OMP_NUM_THREADS ?= 1

.PHONY: run test lint format clean

run: $(READY)
	$(BIN)/cimsim run arch_configs/halora_rram_sram.json workloads/llama3.2_1b_r4_p512_d128.json \
		--baseline arch_configs/gpu/a100_sxm4_80gb.json -o out

test: lint
	$(BIN)/pytest -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) out build *.egg-info

# torch first and pinned: a looser range downloads gigabytes of CUDA packages.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[torch,dev]'
	touch $(READY)

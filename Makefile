PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check docs fuzz mutation format bench bench-peers bench-check study clean

demo: $(READY)  ## the whole path on simulated patients, in about four minutes
	$(BIN)/loracast demo --out demo

test: $(READY)  ## all tests, a process a core
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

docs: $(READY)  ## the documentation as a site: open site/index.html
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --quiet --clean

fuzz: $(READY)  ## some ten thousand damaged inputs of every kind that is read
	OMP_NUM_THREADS=1 LORACAST_FUZZ=450 $(BIN)/python -m pytest -o timeout=0 tests/fuzz

check: $(READY)  ## style and types
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

mutation: $(READY)  ## how many planted faults the tests notice, an hour or two
	OMP_NUM_THREADS=1 nice $(BIN)/python benchmarks/mutation.py --json benchmarks/mutation.json

format: $(READY)
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

bench: $(READY)  ## what zero-shot, full fine-tuning and LoRA cost on this machine
	$(BIN)/loracast bench --backbones chronos-t5-nano --methods zero-shot,full,lora --out bench.json --resume

bench-peers: $(READY)  ## forecasts against the models' own libraries, which are installed into .peers/: some 20 minutes
	$(BIN)/python benchmarks/peers/run.py --json benchmarks/peers.json

bench-check: $(READY)  ## the same again; fails where loracast has become a quarter slower against one of them
	$(BIN)/python benchmarks/peers/run.py --check benchmarks/peers.json

study: $(READY)  ## the three first experiments; CINC2019=folder or archive, CGM=cgm_long.csv.gz
	PATH="$(CURDIR)/$(BIN):$$PATH" benchmarks/first_three.sh "$(CINC2019)" "$(CGM)" --jobs 2

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit('loracast needs Python 3.11 or newer, this is ' + sys.version.split()[0] + ': make PYTHON=python3.12 ...' if sys.version_info < (3, 11) else 0)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .peers build demo site bench.json mutants .mypy_cache .pytest_cache .ruff_cache

# `make` lists the targets. Requires only make and Python.

PYTHON ?= python3
VENV ?= .venv
INTEROP ?= .venv-interop
# Further arguments for pytest or uv: make test ARGS='-k schedules'.
ARGS ?=
# Folder with catalogs/, train/ and test/, for real-data-check.
REAL_DATA ?=

BIN := $(VENV)/bin
# pip's errors end with a line that suffices; its notices are not for users.
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
# Files that mark a finished installation.
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
# Runs a tool of requirements-tools.txt in an environment of its own.
tool = $(BIN)/uv tool run --quiet --python $(BIN)/python \
  --from "$$(grep '^$(1)[<>=]' requirements-tools.txt)"
# JAX's compiler for NVIDIA GPUs.
GPU_PROGRAM := $(VENV)/gpu-program
# Scratch folder of wheel-check.
WHEEL := $(VENV)/wheel-check

# Huge pages for memory that each step allocates and frees, if Linux grants them
# on request: training on CPUs is a tenth faster. Older C libraries ignore it.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: help quickstart test lint soak tutorial fuzz mutants audit sbom bench \
  gpu-program gpu-program-check \
  real-data-check interop-check wheel-check lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' \
	  $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "Another Python (3.11, 3.12 or 3.13): make test PYTHON=python3.12"

quickstart: $(RUNTIME)  ## train on mock galaxies, minutes on two CPU cores
	$(BIN)/python main.py --config=configs/quickstart.py

# By default pytest-xdist starts the files with few tests last, and one of those
# that take a minute would leave a worker without work. Three workers for two
# cores: killed runs and servers are waited for.
test: lint  ## lint, then all tests; a selection: ARGS='-k schedules'
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile \
	  --no-loadscope-reorder $(ARGS)

lint: $(DEV)  ## formatting, style and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# A failed test is a lost run: its row of the table shows it.
soak: $(DEV)  ## kills, flipped bits, restarts: half an hour; updates docs/reliability.md
	$(BIN)/python -m pytest -m faults --soak --numprocesses=2 --dist=worksteal \
	  --junitxml=$(VENV)/faults.xml $(ARGS); status=$$?; \
	  $(BIN)/python -m tests.soak.table $(VENV)/faults.xml && exit $$status

# The tool finds the project's packages by PYTHONPATH.
mutants: $(DEV) $(BIN)/uv  ## count one-line changes that no test notices; hours
	PYTHONPATH="$$($(BIN)/python -c 'import site; \
	  print(site.getsitepackages()[0])')" \
	  $(call tool,mutmut) mutmut run --max-children 2 $(ARGS)
	@$(call tool,mutmut) mutmut results > mutants/survivors.txt
	@echo "mutants/survivors.txt lists the survivors."

# pip-audit reports no fault if its default database is absent, but not of OSV.
audit: $(BIN)/uv  ## look for known vulnerabilities in requirements.lock
	@$(call tool,pip-audit) pip-audit --vulnerability-service osv --disable-pip \
	  --require-hashes --progress-spinner off --requirement requirements.lock \
	  > $(VENV)/audit.txt 2>&1; status=$$?; \
	if grep -qE 'ConnectionError|ServiceError|Timeout' $(VENV)/audit.txt; then \
	  echo "error: nothing was audited: the database of vulnerabilities," \
	    "osv.dev, cannot be reached. Try again with network access."; exit 1; \
	fi; cat $(VENV)/audit.txt; exit $$status

sbom: $(BIN)/uv  ## write sbom.json: all packages of requirements.lock (CycloneDX)
	@PYTHONWARNINGS=ignore $(call tool,cyclonedx-bom) cyclonedx-py requirements requirements.lock \
	  --pyproject pyproject.toml --mc-type application --output-reproducible \
	  --output-file sbom.json
	@echo "Wrote sbom.json."

# Beside PyTorch: ARGS='--quick --torch-python=PATH'.
bench: $(RUNTIME)  ## images/s of training and evaluation; ARGS=--quick, 3 minutes
	@$(BIN)/python -m benchmarks.train $(ARGS)

# In a folder of its own: JAX would look for a GPU at each start.
gpu-program: $(GPU_PROGRAM)/.installed  ## what a step for H100s holds, without a GPU
	@PYTHONPATH=$(GPU_PROGRAM) $(BIN)/python -m benchmarks.gpu_program $(ARGS)

gpu-program-check: $(GPU_PROGRAM)/.installed $(DEV)  ## its tests
	PYTHONPATH=$(GPU_PROGRAM) $(BIN)/python -m pytest \
	  tests/benchmarks/gpu_program_test.py $(ARGS)

tutorial: $(DEV)  ## run docs/tutorial.ipynb and store its outputs, minutes
	$(BIN)/python -m tests.tutorial

fuzz: $(DEV)  ## 10,000 damaged files per parser, hours
	FUZZ_CASES=10000 $(BIN)/python -m pytest tests/fuzz $(ARGS)

real-data-check: $(DEV)  ## tests with real galaxies: REAL_DATA=FOLDER
	@test -d "$(REAL_DATA)/catalogs" || { \
	  echo "error: no catalogs/ in REAL_DATA='$(REAL_DATA)'." \
	    "Try: make real-data-check REAL_DATA=FOLDER"; exit 1; }
	$(BIN)/python -m pytest tests/real_data.py --real-data="$(REAL_DATA)" $(ARGS)

# In a separate environment: the project does not depend on TensorFlow and Beam.
interop-check: $(INTEROP)/.installed  ## TensorFlow and Beam read and write the same set
	TF_CPP_MIN_LOG_LEVEL=3 $(INTEROP)/bin/python -m pytest \
	  --confcutdir=tests/interop tests/interop/beam_check.py \
	  tests/interop/predict_check.py tests/interop/tensorflow_check.py $(ARGS)

# The last two commands need the data files: texts of the data set, dummy_data.
wheel-check: $(BIN)/uv  ## install the wheel in an empty environment and use it
	rm -rf $(WHEEL)
	$(BIN)/uv build --quiet --out-dir $(WHEEL)
	$(BIN)/uv venv --quiet --python $(BIN)/python $(WHEEL)/venv
	$(BIN)/uv pip install --quiet --python $(WHEEL)/venv/bin/python \
	  --constraints requirements.lock $(WHEEL)/*.whl
	mkdir $(WHEEL)/empty
	cd $(WHEEL)/empty && python=../venv/bin/python && \
	  package=$$(echo ../venv/lib/python*/site-packages/tfds_sdss) && \
	  $$python -c 'from galmet_jax.models import resnet' && \
	  $$python -m tfds_sdss --help > /dev/null && \
	  $$python -m tfds_sdss build dr17 --data_dir=data \
	    --staging=$$package/sdss_metallicity/dummy_data && \
	  $$python -m tfds_sdss verify dr17 --data_dir=data > /dev/null && \
	  test -f $$package/sdss_metallicity/demo500.sha256
	rm -rf $(WHEEL)

# Keeps the versions that still fit. It must not depend on DEV: a lock that does
# not fit cannot be installed.
lock: $(BIN)/uv  ## write requirements.lock; newest versions: ARGS=--upgrade
	UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet \
	  --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links \
	  $(ARGS) requirements-dev.txt --output-file requirements.lock

clean:  ## remove the environments and caches; runs/ and data stay
	@test ! -e $(VENV) || test -f $(VENV)/pyvenv.cfg || { \
	  echo "error: $(VENV) is not a virtual environment; not removed."; exit 1; }
	rm -rf $(VENV) $(INTEROP) .mypy_cache .pytest_cache .ruff_cache *.egg-info mutants sbom.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# venv creates bin/pip last, so this file is absent after a failure.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	  sys.exit(None if (3, 11) <= v <= (3, 13) else "found Python %d.%d" % v)' \
	  || { echo "error: expected Python 3.11, 3.12 or 3.13 as '$(PYTHON)'." \
	    "Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# requirements.txt at the versions of the lock, but without its hashes: pip
# refuses version ranges when it checks hashes.
$(RUNTIME): requirements.txt requirements.lock | $(BIN)/pip
	@echo "Installing requirements.txt (1.5 GB on disk, a few minutes)"
	@sed -n 's/^\([^ #]*==.*[^ ]\) *\\$$/\1/p' requirements.lock \
	  > $(VENV)/constraints.txt
	@$(PIP) install -r requirements.txt -c $(VENV)/constraints.txt
	@touch $@

# The whole lock; the second command fails if requirements-dev.txt needs more.
$(DEV): requirements.txt requirements-dev.txt requirements.lock | $(BIN)/pip
	@echo "Installing requirements.lock (1.7 GB on disk, a few minutes)"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-index --no-deps -r requirements-dev.txt || { \
	  echo "error: requirements.lock is out of date. Run: make lock"; exit 1; }
	@touch $(RUNTIME) $@

$(INTEROP)/.installed: requirements-interop.txt requirements-beam.txt requirements.txt | $(BIN)/uv
	@echo "Installing requirements-interop.txt (4 GB on disk, some minutes)"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(INTEROP)
	@$(BIN)/uv pip install --quiet --python $(INTEROP)/bin/python \
	  -r requirements-interop.txt
	@touch $@

$(GPU_PROGRAM)/.installed: requirements-gpu-program.txt $(RUNTIME) | $(BIN)/uv
	@echo "Installing requirements-gpu-program.txt (500 MB on disk)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps \
	  --target $(GPU_PROGRAM) -r requirements-gpu-program.txt
	@touch $@

$(BIN)/uv: | $(BIN)/pip
	@echo "Installing uv"
	@$(PIP) install "$$(grep '^uv[<>=]' requirements-dev.txt)"

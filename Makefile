# make demo | make test | make sanitize | make test-long | make bench | make clean

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python

# What `make demo` does: the first DEMO_PICTURES pictures of each kind, DEMO_STEPS steps each.
NETWORK       ?=
DEMO_PICTURES ?= 8
DEMO_STEPS    ?= 150
DEMO_OUT      ?= projections/demo
DEMO_NETWORK  := $(or $(NETWORK),$(wildcard data/networks/A.safetensors))

.DELETE_ON_ERROR:
.PHONY: demo test sanitize test-long bench clean check-network

demo: check-network $(VENV)/.ready
	@$(foreach kind,real generated, \
	  echo "$(DEMO_PICTURES) $(kind) pictures, $(DEMO_STEPS) steps each:" && \
	  $(PY) -m invert project \
	    $(wordlist 1,$(DEMO_PICTURES),$(sort $(wildcard data/samples/$(kind)/*.png))) \
	    $(if $(NETWORK),--network "$(NETWORK)") --steps $(DEMO_STEPS) --out $(DEMO_OUT)/$(kind) --overwrite && \
	  echo &&) true
	@echo "Each picture beside its reconstruction: $(DEMO_OUT)/real/*.png and $(DEMO_OUT)/generated/*.png"

check-network:
	@test -n "$(DEMO_NETWORK)" || { echo "make demo: the project has no network of its own yet;" \
	  "give one: make demo NETWORK=path/to/network.pkl"; exit 1; }
	@test -f "$(DEMO_NETWORK)" || { echo "make demo: there is no file $(DEMO_NETWORK)"; exit 1; }

test: $(VENV)/.ready-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pytest -q -m "not long"

# The native kernels' tests under AddressSanitizer and UndefinedBehaviorSanitizer, and the CUDA kernels emulated.
sanitize: $(VENV)/.ready-test
	$(PY) -m pytest -q -m long tests/ops

test-long: $(VENV)/.ready-test
	$(PY) -m pytest -q -m long || [ $$? -eq 5 ]  # 5: there is none

bench: $(VENV)/.ready
	$(PY) -m bench

# The stamps are written last, so that an installation that was cut off is taken up again.
$(VENV)/.ready: pyproject.toml setup.cfg
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: $(PYTHON) is missing or older than 3.11; name one: make PYTHON=python3.12"; exit 1; }
	@$(PY) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --quiet --editable .
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	$(PY) -m pip install --quiet --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

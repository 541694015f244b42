# make demo | make check | make test | make sanitize | make fuzz | make test-long | make bench | make networks | make faces |
# make emoji | make precision | make calibration | make calibration-faces | make calibration-verdict | make families |
# make benchmark-attribution | make clean

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python

# What `make demo` does: the first DEMO_IMAGES images of each kind of DEMO_KINDS, which are all kinds by default; NETWORK
# is asked in place of the demonstration networks.
NETWORK       ?=
DEMO_KINDS    ?=
DEMO_IMAGES   ?= 12
DEMO_REPORT   ?= projections/attribution.html

# What `make networks` does, for each of NETWORKS: seed, thousands of images that training sees, data (fashion32 where
# nothing is said), preset (small) and further options.
FASHION_MNIST ?= /usr/share/datasets/fashion-mnist
RUNS          ?= runs
NETWORKS      ?= A B C
SEED_A := 1
SEED_B := 2
SEED_C := 3
KIMG_A := 640
KIMG_B := 640
KIMG_C := 60
# StyleGAN and StyleGAN2, with the same widths, seed and images.
SEED_stylegan  := 1
SEED_stylegan2 := 1
KIMG_stylegan  := 60
KIMG_stylegan2 := 60
CONFIG_stylegan := stylegan-small
# Two seeds in float32, and the first of them with feature maps in bfloat16.
SEED_exact-1 := 1
SEED_exact-2 := 2
SEED_half-1  := 1
KIMG_exact-1 := 200
KIMG_exact-2  = $(KIMG_exact-1)
KIMG_half-1   = $(KIMG_exact-1)
TRAIN_half-1 := --precision bfloat16
# Cartoon faces and emoji, 64 px, in colour.
FACES_SEEDS      := --first 0 --count 50000
FACES_TEST_SEEDS := --first 1000000 --count 5000
SEED_faces   := 1
SEED_faces-b := 2
KIMG_faces   := 210
KIMG_faces-b = $(KIMG_faces)
DATA_faces   := faces64
DATA_faces-b := faces64
TRAIN_faces  := --augment none --set channel_base=1024
TRAIN_faces-b = $(TRAIN_faces)
# Few images, with and without adaptive augmentation; in so short a run p has to move faster than in the paper.
SEED_emoji      := 1
SEED_emoji-ada  := 1
KIMG_emoji      := 240
KIMG_emoji-ada   = $(KIMG_emoji)
DATA_emoji      := emoji64
DATA_emoji-ada  := emoji64
TRAIN_emoji     := --augment none
TRAIN_emoji-ada := --augment ada --set augment_kimg=100
SEED_emoji-300      := 1
SEED_emoji-300-ada  := 1
KIMG_emoji-300      := 80
KIMG_emoji-300-ada   = $(KIMG_emoji-300)
DATA_emoji-300      := emoji64
DATA_emoji-300-ada  := emoji64
TRAIN_emoji-300     := --subset 300 --augment none --snapshot-kimg 10
TRAIN_emoji-300-ada := --subset 300 --augment ada --set augment_kimg=50 --snapshot-kimg 10

.DELETE_ON_ERROR:
.PHONY: demo networks faces emoji emoji-curves families precision calibration calibration-faces calibration-verdict benchmark-attribution test check lint sanitize fuzz test-long bench clean

demo: $(VENV)/.ready
	@$(PY) -m invert demo $(if $(NETWORK),--network "$(NETWORK)") --images $(DEMO_IMAGES) --report "$(DEMO_REPORT)" \
	  $(foreach kind,$(DEMO_KINDS),--kind $(kind))

# The project's own networks, from Fashion-MNIST (Debian package dataset-fashion-mnist): `make -j2 networks` trains two
# side by side, one thread each, in an hour and a half to two. A run that was stopped is resumed.
networks: $(NETWORKS:%=$(RUNS)/%/.done)
	for name in $(NETWORKS); do cp $(RUNS)/$$name/network.safetensors data/networks/$$name.safetensors || exit 1; done

.SECONDEXPANSION:
$(RUNS)/%/.done: $(RUNS)/$$(or $$(DATA_$$*),fashion32).zip
	OMP_NUM_THREADS=1 $(PY) -m invert train --data $< --out $(RUNS)/$* --config $(or $(CONFIG_$*),small) --seed $(SEED_$*) \
	  --kimg $(KIMG_$*) --threads 1 $(TRAIN_$*)
	@touch $@

# Images of two more domains, made of npm packages (node 18 or newer): faces to train on and others, held out; emoji.
faces: $(RUNS)/faces64.zip $(RUNS)/faces64-test.zip
emoji: $(RUNS)/emoji64.zip

# What augmentation does with all emoji and with 300 of them: `make -j2 emoji-curves` trains, and measures the snapshots.
EMOJI_RUNS := $(RUNS)/emoji $(RUNS)/emoji-ada $(RUNS)/emoji-300 $(RUNS)/emoji-300-ada
emoji-curves: $(EMOJI_RUNS:%=%/.done)
	$(PY) -m bench.domains.curves $(EMOJI_RUNS) --against $(RUNS)/emoji64.zip --out docs/emoji-ada.png

NODE := bench/domains/node_modules/.package-lock.json
$(NODE): bench/domains/package-lock.json
	npm ci --prefix bench/domains --no-audit --no-fund
	@touch $@

$(RUNS)/faces64.zip: $(VENV)/.ready $(NODE)
	$(PY) -m bench.domains.faces $@ $(FACES_SEEDS)

$(RUNS)/faces64-test.zip: $(VENV)/.ready $(NODE)
	$(PY) -m bench.domains.faces $@ $(FACES_TEST_SEEDS)

$(RUNS)/emoji64.zip: $(VENV)/.ready $(NODE)
	$(PY) -m bench.domains.emoji $@

# The first StyleGAN beside StyleGAN2: `make -j2 families` trains both for some ten minutes, one thread each,
# and calibrates them.
families: $(RUNS)/stylegan/.done $(RUNS)/stylegan2/.done $(RUNS)/fashion32-test.zip
	$(PY) -m bench.families $(RUNS)/stylegan $(RUNS)/stylegan2 --real $(RUNS)/fashion32-test.zip \
	  --out docs/families.png
	$(PY) -m bench.populations $(RUNS)/populations --fashion-mnist $(FASHION_MNIST)
	for name in stylegan stylegan2; do \
	  cp $(RUNS)/$$name/network.safetensors data/networks/$$name.safetensors && \
	  $(PY) -m invert calibrate --network data/networks/$$name.safetensors --real $(RUNS)/populations/families \
	    --count 200 --fpr 0.05 --overwrite || exit 1; done
	$(PY) -m invert histograms data/networks/stylegan.calibration.json data/networks/stylegan2.calibration.json \
	  --out docs/histograms.png --overwrite

# What --precision bfloat16 does to a network: its distance to held-out images beside those of two seeds in float32.
precision: $(RUNS)/exact-1/.done $(RUNS)/exact-2/.done $(RUNS)/half-1/.done $(RUNS)/fashion32-test.zip
	$(PY) -m invert metrics $(foreach name,exact-1 exact-2 half-1,$(RUNS)/$(name)/network.safetensors) --metric fd-vgg \
	  --against $(RUNS)/fashion32-test.zip

$(RUNS)/fashion32-test.zip: $(VENV)/.ready
	mkdir -p $(RUNS)
	$(PY) -m invert dataset $(FASHION_MNIST)/t10k-images-idx3-ubyte.gz $@ --resolution 32 --pad --overwrite

$(RUNS)/fashion32.zip: $(VENV)/.ready
	mkdir -p $(RUNS)
	$(PY) -m invert dataset $(FASHION_MNIST)/train-images-idx3-ubyte.gz $@ --resolution 32 --pad --overwrite

# The calibration of network A by preset exact: EXACT_COUNT of its own samples and 545 images of each other origin, after
# each of 16 processings. It takes hours, and resumes where it was stopped. `invert attribute` takes the first of A's
# calibrations in this folder: that of the method of LPIPS is the other one.
EXACT_COUNT ?= 180
calibration: $(RUNS)/populations/.done
	$(PY) -m invert calibrate --network data/networks/A.safetensors --real $(RUNS)/populations/exact/real \
	  --other $(RUNS)/populations/exact/B --preset exact --count $(EXACT_COUNT) -o data/networks/A.calibration.json \
	  --overwrite $(CALIBRATION)

# The same of network faces, whose images are 64 px and in colour: after fewer processings, for each takes longer.
FACES_COUNT       ?= 120
FACES_PROCESSINGS ?= none crop:0.05 blur:1 jpeg:75
calibration-faces: $(RUNS)/populations/.faces
	$(PY) -m invert calibrate --network data/networks/faces.safetensors --real $(RUNS)/populations/faces/real \
	  --other $(RUNS)/populations/faces/faces-b --preset exact --count $(FACES_COUNT) \
	  --processing "$(FACES_PROCESSINGS)" -o data/networks/faces.calibration.json --overwrite $(CALIBRATION)

$(RUNS)/populations/.faces: $(RUNS)/faces64-test.zip bench/domains/populations.py
	$(PY) -m bench.domains.populations $(RUNS)/populations --held-out $<
	@touch $@

calibration-verdict: $(RUNS)/populations/.done
	$(PY) -m invert calibrate --network data/networks/A.safetensors --real $(RUNS)/populations/calibration/real \
	  --other $(RUNS)/populations/calibration/B --count 600 -o data/networks/A.verdict.calibration.json --overwrite

$(RUNS)/populations/.done: $(VENV)/.ready-test bench/populations.py
	$(PY) -m bench.populations $(RUNS)/populations --fashion-mnist $(FASHION_MNIST)
	@touch $@

# The tables of bench/attribution.md and docs/gap-sealed.png, by the calibrations of A in data/networks; resumes where it
# was stopped. BENCHMARK="--only seeds" makes one section again; -h lists them and how many images each takes.
benchmark-attribution: $(VENV)/.ready-test
	$(PY) -m bench.attribution --fashion-mnist $(FASHION_MNIST) --work $(RUNS)/attribution $(BENCHMARK)

# All tests but the long ones. WORKERS processes share the files among them in this order, a file to each.
WORKERS ?= 2
PYTEST  := OMP_NUM_THREADS=1 $(PY) -m pytest -q
SPREAD  := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test: lint
	$(PYTEST) $(SPREAD) -m "not long and not serial"
	$(PYTEST) -n 0 -m "serial and not long"

# What to run before a commit: under three minutes on two cores.
check: lint
	$(PYTEST) $(SPREAD) -m "not long and not serial and not slow"

lint: $(VENV)/.ready-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# The native kernels' tests under AddressSanitizer and UndefinedBehaviorSanitizer, and the CUDA kernels emulated.
sanitize: $(VENV)/.ready-test
	$(PY) -m pytest -q -m long tests/ops

# Changed files of every format, read within limits; findings are written to runs/fuzz. See SECURITY.md.
FUZZ_SECONDS ?= 3600
FUZZ_SEED    ?= 0
fuzz: $(VENV)/.ready-test
	$(PY) -m tests.fuzz --seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED) --out $(RUNS)/fuzz

test-long: $(VENV)/.ready-test
	$(PY) -m pytest -q -m long || [ $$? -eq 5 ]  # 5: there is none

bench: $(VENV)/.ready
	$(PY) -m bench

# The stamps are written last, so that an installation that was cut off is made anew.
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

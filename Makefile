# make train      a translator for the toy corpus: trained, measured, shown (3 minutes on two cores)
# make test       the tests, in minutes         make test-all   the slow ones too: they train models
# make lint       style, types, import layers   make toy        the toy corpus, from its grammar
# make docs       the generated pages           make clean      forget .venv and the caches; runs stay
# make bench      where the time goes, minutes  make bench-peers   beside JoeyNMT and OpenNMT-py: installs them, an hour
# make quality    the rows of docs/quality.md   make quality ROW=NAME   reproduce one of them: minutes to hours
#
# Each sets up .venv first, where needed. On Linux without a GPU, `make train TORCH_INDEX=URL` takes torch from a package
# index of CPU builds (pytorch.org names it) and saves gigabytes. `make bench-peers MULTI30K=DIR` reads Multi30k's
# *.lc.norm.tok.{de,en} files there. `make test-all ONLY=slow` leaves out what `make test` runs.

PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/toy
THREADS ?= $(shell nproc 2>/dev/null || echo 1)
MULTI30K ?= data/multi30k
TORCH_INDEX ?=
ONLY ?=
BIN := $(VENV)/bin
# a process a core, a file at a time, each on one thread: small tensors would only wait for other threads
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(THREADS) --maxprocesses 8 --dist loadfile
# what one must read to know how a translator works
LESSON := seq2seq/build.py seq2seq/model/*.py seq2seq/text/tokenizer.py seq2seq/text/normalize.py seq2seq/data/corpus.py \
  seq2seq/data/batch.py seq2seq/data/batches.py seq2seq/training/train.py seq2seq/training/update.py seq2seq/training/schedule.py \
  seq2seq/training/validation.py seq2seq/training/progress.py seq2seq/decoding/search.py seq2seq/decoding/translator.py
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: train test test-all lint toy docs bench bench-peers quality clean
.DEFAULT_GOAL := train

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	@echo "setting up $(VENV) (once, a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) $(if $(TORCH_INDEX),--no-deps --index-url $(TORCH_INDEX)) torch==2.13.0
	@$(PIP) --editable ".[dev]"
	@touch $@

train: $(VENV)/.installed
	@if [ -e $(RUN)/config.yaml ]; then \
	  echo "$(RUN) already holds a run. You can"; \
	  echo "  use it                         $(BIN)/seq2seq translate $(RUN)"; \
	  echo "  measure it                     $(BIN)/seq2seq evaluate $(RUN)"; \
	  echo "  finish it, if it was stopped   $(BIN)/seq2seq train configs/toy.yaml --run $(RUN) --resume"; \
	  echo "  train another                  make train RUN=runs/toy2"; \
	else \
	  $(BIN)/seq2seq train configs/toy.yaml --run $(RUN); \
	fi

test: $(VENV)/.installed
	@$(PYTEST)

test-all: $(VENV)/.installed
	@$(PYTEST) -m "$(ONLY)"

lint: $(VENV)/.installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python scripts/make_config_docs.py --check
	@echo "lines of the lesson: $$(cat $(LESSON) | wc -l); of the package: $$(find seq2seq -name '*.py' | xargs cat | wc -l)"

toy: $(VENV)/.installed
	@$(BIN)/python scripts/make_toy_corpus.py

docs: $(VENV)/.installed
	@$(BIN)/python scripts/make_config_docs.py
	@$(BIN)/python scripts/make_lesson.py

bench: $(VENV)/.installed
	@OMP_NUM_THREADS=$(THREADS) $(BIN)/seq2seq bench configs/toy.yaml
	@if [ -e $(RUN)/config.yaml ]; then $(BIN)/python scripts/bench/translate.py $(RUN) --threads $(THREADS); \
	else echo "make train, and make bench measures translation too"; fi

bench-peers: $(VENV)/.installed
	@$(BIN)/python scripts/bench/peers.py setup
	@$(BIN)/python scripts/bench/peers.py data --corpus $(MULTI30K)
	@$(BIN)/python scripts/bench/peers.py train-speed --threads $(THREADS)
	@$(BIN)/python scripts/bench/peers.py models --updates 1500 --threads $(THREADS)
	@$(BIN)/python scripts/bench/peers.py translate-speed --threads $(THREADS)
	@$(BIN)/python scripts/bench/same_weights.py build/peers/models/opennmt_luong256_step_1500.pt --threads $(THREADS)
	@$(BIN)/python scripts/bench/peers.py table

quality: $(VENV)/.installed
	@OMP_NUM_THREADS=$(THREADS) $(BIN)/python scripts/ladder.py $(ROW)

clean:
	rm -rf $(VENV) .import_linter_cache .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

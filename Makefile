# An environment that is active is used as it is; otherwise .venv is made from $(PYTHON).
# A torch that $(PYTHON) already has is used, else pip brings one.
PYTHON ?= python3
VENV := $(or $(VIRTUAL_ENV),.venv)
RUN := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo announced smoke test test-slow gpu pages golden check clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: announced $(VENV)/.vgg-demo  ## install what it needs, train and test A to E on real digits, write the report: minutes
	$(RUN) scripts/demo.py

announced:
	@echo "installation where it is needed, then five nets, two at a time: about five minutes on two quiet cores"

smoke: $(VENV)/.vgg-demo  ## from the installation to a page in a minute; the nets learn next to nothing
	$(RUN) -m repro.run -m arch=A,B recipe=smoke 'test=[single_scale]' runs=.smoke/runs progress=false
	$(RUN) -m repro.report runs=.smoke/runs out=.smoke/report

# Each file of tests stays in one process, so that what its tests share is made once.
test: $(VENV)/.vgg-dev  ## install the rest and run the tests
	$(RUN) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# The longest one first: else the other processes wait for it.
test-slow: $(VENV)/.vgg-dev  ## the tests that take minutes
	$(RUN) -m pytest -m slow --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder tests/test_kills.py tests/*/ tests/test_[!k]*.py

gpu: $(VENV)/.vgg-dev  ## on a machine with a CUDA device: what only one can show, and its rates
	@status=0; $(RUN) -m pytest -m gpu --durations=10 || status=$$?; \
	$(RUN) scripts/bench.py device=cuda rounds=2 || status=$$?; exit $$status

pages: $(VENV)/.vgg-dev  ## fill the tables of the pages from the committed reports
	$(RUN) -m cogapp -r -P -p "import pages" -I scripts README.md docs/*.md experiments/*.md

golden: $(VENV)/.vgg-dev  ## render the golden store of the tests anew, to be reviewed and committed
	$(RUN) -m tests.golden_store

check: $(VENV)/.vgg-dev  ## format, lint and types
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

clean:  ## remove .venv, .smoke and caches; runs and reports stay
	rm -rf .venv .smoke .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say which: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $$($(PYTHON) -c 'import torch' 2>/dev/null && echo --system-site-packages) $(VENV)

$(VENV)/.vgg-demo: pyproject.toml | $(RUN)
	@$(RUN) -c 'import torch' 2>/dev/null || echo "pip brings torch: about 6 GB with CUDA (ten minutes at 10 MB a second), under 2 GB (three) with the CPU build: README, Start"
	$(RUN) -m pip install --editable '.[joblib]'
	@touch $@

$(VENV)/.vgg-dev: pyproject.toml | $(RUN)
	$(RUN) -m pip install --editable '.[dev]'
	@touch $@ $(VENV)/.vgg-demo

# An environment that is active is used as it is; otherwise .venv is made from $(PYTHON).
# A torch that $(PYTHON) already has is used, else pip brings one.
PYTHON ?= python3
VENV := $(or $(VIRTUAL_ENV),.venv)
RUN := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow golden check clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Two nets at a time, the slowest first, a thread each: that uses two cores better than one net does.
demo: $(VENV)/.vgg-repro  ## install, train and test A to E on the embedded digits, write the report
	@date +%s > $(VENV)/.demo-began
	$(RUN) -m repro.run -m arch=E,D,C,B,A hydra/launcher=joblib hydra.launcher.n_jobs=2 threads=1
	$(RUN) -m repro.report
	@echo "sweep and report took $$(( $$(date +%s) - $$(cat $(VENV)/.demo-began) )) seconds"

# Each file of tests stays in one process, so that what its tests share is made once.
test: $(VENV)/.vgg-repro  ## install and run the tests
	$(RUN) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test-slow: $(VENV)/.vgg-repro  ## the tests that take minutes
	$(RUN) -m pytest -m slow --numprocesses auto --maxprocesses 4 --dist loadfile

golden: $(VENV)/.vgg-repro  ## render the golden store of the tests anew, to be reviewed and committed
	cd tests/golden && $(abspath $(RUN)) -m repro.report out=report

check: $(VENV)/.vgg-repro  ## format, lint and types
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

clean:  ## remove .venv and caches; runs and reports stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.vgg-repro: pyproject.toml
	@began=$$(date +%s); \
	test -x $(RUN) || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say which: make PYTHON=python3.12 ...")' \
	&& { test -x $(RUN) || $(PYTHON) -m venv $$($(PYTHON) -c 'import torch' 2>/dev/null && echo --system-site-packages) $(VENV); } \
	&& $(RUN) -m pip install --quiet --editable '.[dev]' \
	&& touch $@ \
	&& echo "installation took $$(( $$(date +%s) - began )) seconds"

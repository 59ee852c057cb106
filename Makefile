# The commands of the README and of docs/; `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Two threads on two busy cores collapse when they wait by spinning.
export OMP_WAIT_POLICY ?= PASSIVE
export DVC_NO_ANALYTICS := 1
# The shell reads these from its environment, so that no character of a path means anything to it.
export VERSION PROFILE EG1800 PAIRS BAIDU CRAWL IMG2DATASET URLS CONTACT FILE

.DEFAULT_GOAL := help
.PHONY: help install repro test test-fast test-long check compiler browser old-runtime ray label-studio review review-stop pull review-backup review-restore release

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 20

install: .venv/.installed  ## make .venv with everything in it, in the versions of constraints.txt

.venv/.installed: pyproject.toml constraints.txt $(wildcard sinet/native/c/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or newer, found " + sys.version.split()[0] + "; name another one: make install PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	@rm -f sinet/native/kernel.*.so
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@ls sinet/native/kernel.*.so >/dev/null 2>&1 || echo 'No C compiler or no Python.h: prediction takes torch, in seven to eight times the time (Debian: apt-get install gcc python3-dev)'
	@touch $@

repro: install  ## run the recipe; PROFILE=real PAIRS=DIR CRAWL=DIR (or EG1800=, BAIDU=) runs it on your pictures
	@$(if $(EG1800)$(PAIRS)$(BAIDU)$(CRAWL)$(IMG2DATASET)$(URLS),$(if $(PROFILE),,echo 'EG1800=, PAIRS=, BAIDU=, CRAWL=, IMG2DATASET= and URLS= need a profile: add PROFILE=real'; exit 1))
	@$(if $(PROFILE),python -m pipeline configure "$$PROFILE" $(if $(EG1800),--eg1800 "$$EG1800") $(if $(PAIRS),--pairs "$$PAIRS") $(if $(BAIDU),--baidu "$$BAIDU") $(if $(CRAWL),--crawl "$$CRAWL") $(if $(IMG2DATASET),--img2dataset "$$IMG2DATASET") $(if $(URLS),--urls "$$URLS") $(if $(CONTACT),--contact "$$CONTACT"))
	@python -m pipeline look
	@options=$$(python -m pipeline absent) && echo "dvc repro $$options" && dvc repro $$options
	@python -m pipeline explain
	@echo 'Look at data/report/index.html; dvc metrics show; dvc plots show'

release: install  ## VERSION=1.2.0 checks this version, writes its cards and tags it; pushes nothing
	@$(if $(VERSION),,echo 'say which: make release VERSION=1.2.0'; exit 1)
	@python -m pipeline release "$$VERSION" $(foreach one,$(UNLICENSED),--unlicensed '$(one)')

# Two processes, which share one server's installation and one finished world (tests/conftest.py says what goes where).
PYTEST := python -m pytest -n 2 --dist loadgroup

test: compiler install browser label-studio old-runtime ray  ## run the tests; test-fast leaves out the slow ones
	$(PYTEST)

test-fast: install  ## leave out the slow tests and the real photographs
	$(PYTEST) -m 'not slow and not long and not real_data'

test-long: compiler install browser label-studio old-runtime ray  ## run the long proofs that `make test` leaves out
	$(PYTEST) -m long

# What there is to review is looked at before anything large is installed for it.
review: install  ## review masks in Label Studio on this machine; Ctrl-C stops it
	@python -m annotations review --ready
	@$(MAKE) --no-print-directory label-studio
	@exec python -m annotations review

review-stop: install  ## stop it from another terminal
	@python -m annotations stop

pull: install  ## bring the reviews home, into the lock that repro merges
	@python -m annotations pull

review-backup: install  ## FILE=review.tar.gz keeps a half-done review, to go on here or elsewhere
	@$(if $(FILE),,echo 'say where to: make review-backup FILE=review.tar.gz'; exit 1)
	@python -m annotations backup "$$FILE"

review-restore: install  ## FILE=review.tar.gz goes on with it on this machine
	@$(if $(FILE),,echo 'say from where: make review-restore FILE=review.tar.gz'; exit 1)
	@python -m annotations restore "$$FILE"

# Label Studio pins a Django and an OpenCV of its own, so that it has an environment of its own (996 MB).
label-studio: .cache/label-studio-venv/.installed

.cache/label-studio-venv/.installed: annotations/server/constraints.txt
	@echo 'Installing Label Studio into .cache/label-studio-venv (once; 996 MB, about two minutes) ...'
	@$(PYTHON) -m venv .cache/label-studio-venv
	@.cache/label-studio-venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint $< label-studio
	@touch $@

# What the tests of prediction in C need; `make install` builds it where a compiler is there already. An installation
# from before there was one is made again.
compiler:
	@command -v cc >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq gcc libc6-dev python3-dev && rm -f .venv/.installed; } >/dev/null 2>&1 \
	  || echo 'no C compiler found: the tests of prediction in C will be skipped (Debian: apt-get install gcc python3-dev)'

# An exported file must run in runtimes that people have, not only in the one it was made with.
old-runtime: .cache/onnxruntime-1.17-venv/.installed

.cache/onnxruntime-1.17-venv/.installed: tests/old-runtime-constraints.txt
	@$(PYTHON) -m venv .cache/onnxruntime-1.17-venv
	@.cache/onnxruntime-1.17-venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint $< onnxruntime \
	  && touch $@ || echo 'no ONNX Runtime 1.17 for this Python (3.8 to 3.12 have it): its test will be skipped'

# For `execute.engine: ray` and its tests; `make repro` does without (238 MB).
ray: .venv/.ray  ## install Ray, for more than one machine (docs/scale.md)

.venv/.ray: .venv/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt ray \
	  && touch $@ || echo 'Ray was not installed: its tests will be skipped'

# The pages are looked at in a real browser; without one those tests skip and say so (under CI they fail).
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null 2>&1 \
	  || echo 'no Chromium found: the browser tests will be skipped (Debian: apt-get install chromium)'

check: install  ## ruff, mypy --strict, room rules, dvc.yaml against the code
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	python -m pipeline.commands.consistency

# make run    from photographs to published models, and a table of their figures
# make test   lint, types and tests
# Both set up what they need: a virtual environment in .venv, made once.

PYTHON ?= python3
BIN := .venv/bin
EXPERIMENTS ?= sr-x2 dn-s25 car-q10
PILLOW_SIMD := pillow-simd==12.1.1.post0

# The tools of the environment come first, so that DVC's stages find them; nothing of what runs here phones home.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: run test check setup simd prefect-up prefect-down clean

run: setup
	@dvc repro $(EXPERIMENTS:%=publish@%)
	@scn report

test: check
	@pytest

check: setup
	@ruff check .
	@ruff format --check .
	@mypy

setup: .venv/ready

# One install command; then pillow-simd in the place of Pillow where it builds. Both provide the package PIL, so only
# one of them may be there.
.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 13); sys.exit(0 if ok else "SCN needs Python 3.11 or 3.12, and $(PYTHON) is " + sys.version.split()[0] + ": name another one with make PYTHON=python3.11")'
	@echo "Installing into .venv (a few minutes, once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(MAKE) --no-print-directory --silent .venv/simd || echo "Pillow serves instead of pillow-simd, which did not build (same pixels, slower): 'make simd' installs the headers it needs and builds it."
	@touch $@

.venv/simd:
	@if [ "$$(uname -m)" = x86_64 ]; then flags=-mavx2; else flags=; fi; \
	CC="cc $$flags" $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir .venv/wheels '$(PILLOW_SIMD)' > .venv/simd.log 2>&1 \
	  && $(BIN)/python -m pip uninstall --quiet --yes pillow pillow-simd \
	  && $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps .venv/wheels/pillow_simd-*.whl \
	  && touch $@

# The headers of libjpeg and zlib, then the build. Asks for the administrator's rights where you are not root.
simd: setup
	@if [ "$$(id -u)" = 0 ]; then as=; else as=sudo; fi; \
	$$as apt-get update -qq && $$as apt-get install -y -qq --no-install-recommends libjpeg-dev zlib1g-dev $$($(PYTHON) -c 'import sys; print(f"python3-dev" if sys.prefix == "/usr" else "")')
	@rm -f .venv/simd
	@$(MAKE) --no-print-directory .venv/simd || { tail -n 20 .venv/simd.log; exit 1; }
	@echo "pillow-simd serves now"

prefect-up: setup
	@python -m flows.services up

prefect-down:
	@python -m flows.services down

clean:
	@echo "Removes the environment; the store, the models and DVC's cache stay"
	rm -rf .venv

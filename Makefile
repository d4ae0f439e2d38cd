# make run    from photographs to published models, and a table of their figures
# make test   lint, types and tests
# make image  the container's image, of the commit that is checked out
# make test-container   builds the image and runs the pipeline in it; as root
# make test-cluster   what may happen to a cluster, most of it on machines made of network namespaces; as root
# make verify-zoo   measures the models that ship again, and compares digits
# make s3-up  an S3 service on this machine, and the variables by which it is found
# All set up what they need: a virtual environment in .venv, made once, and anew by PYTHON=... of another version.

PYTHON ?= python3
BIN := .venv/bin
# Nothing where .venv has a Python of PYTHON's version, which is looked for as below: in .venv first. Without --clear venv
# leaves the interpreter as it is, and ends at one whose file is gone.
CLEAR := $(shell PATH="$(CURDIR)/$(BIN):$$PATH"; has=$$($(BIN)/python --version 2> /dev/null) \
  && test "$$has" = "$$($(PYTHON) --version 2> /dev/null)" || echo --clear)
PIP := $(BIN)/python -m pip --disable-pip-version-check
S3_PORT ?= 8333
EXPERIMENTS ?= sr-x2 dn-s25 car-q10
PACKAGES := -e '.[pipeline,dev]'
PILLOW_SIMD := pillow-simd==12.1.1.post0
AVIF := pillow-avif-plugin==1.6.0
SIMD_WHEELS := --quiet --no-deps --no-index --find-links .venv/wheels '$(PILLOW_SIMD)' '$(AVIF)'
# What the Pillow that Python finds reads and converts.
CODECS := import importlib.util as u; from PIL import features as f; \
  print(*(n for n in ("jpg", "zlib", "libtiff", "webp", "avif", "littlecms2") if f.check(n) or n == "avif" and u.find_spec("pillow_avif")))

# The tools of the environment come first, so that DVC's stages find them; nothing of what runs here phones home.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: again run test verify-zoo image test-container test-cluster test-ceph check setup simd prefect-up prefect-down s3-up s3-down

run: setup
	@python -m flows.lock
	@dvc repro $(EXPERIMENTS:%=publish@%)
	@dvc repro --quiet --single-item report
	@scn report

# A process for each CPU, and a file of tests in one of them, in the order of tests/conftest.py.
test: check
	@pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# Four files at a time, each with machines of its own (12 GiB in all): most of the time something is away, and nobody
# computes. The first folder is named for its conftest.py, which shows what was measured.
test-cluster: setup
	@pytest -n 4 --dist loadfile --no-loadscope-reorder -m cluster tests/cluster tests

# Builds the image and trains in it, and shows what both print: half an hour or more.
test-container: setup
	@pytest -n 0 -s -m container tests

# Of what is committed, so that nothing else that lies here gets into it. CONTAINER=podman, or BUILD with more options
# such as `--secret id=pip,src=pip.conf --build-arg PACKAGES=g++`.
CONTAINER ?= docker
IMAGE ?= scn
image:
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && git archive HEAD | tar -x -C "$$folder" \
	  && $(CONTAINER) build --build-arg COMMIT=$$(git rev-parse HEAD) $(BUILD) --tag $(IMAGE) "$$folder"

# The same tests of the store and the registry as on other services; needs Debian's ceph-mon, ceph-osd, radosgw and
# ceph-common.
test-ceph: setup
	@pytest -n 0 -m ceph tests

# From their weights; FLAGS="dn-s25 --set Set12" for some of it, FLAGS=--self-ensemble for all of it.
verify-zoo: setup
	@scn models check $(FLAGS)

check: setup
	@ruff check .
	@ruff format --check .
	@mypy

setup: .venv/ready

# One install command; then pillow-simd in the place of Pillow where it builds and reads all that Pillow does. Both
# provide the package PIL, so only one of them may be there.
.venv/ready: pyproject.toml constraints.txt $(CLEAR:--clear=again)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
	  || { echo "SCN needs Python 3.11 or 3.12: name one with 'make PYTHON=python3.11 run'." >&2; exit 1; }
	@echo "Installing into .venv (a few minutes, once)" >&2
	@$(PYTHON) -m venv $(CLEAR) .venv \
	  || { echo "There is no .venv, as Python says above: see to the disk, or install Python's venv module (Debian and Ubuntu: the package python3-venv)." >&2; exit 1; }
	@rm -f .venv/simd
	@$(PIP) install --quiet -c constraints.txt $(PACKAGES)
	@$(MAKE) --no-print-directory --silent .venv/simd 2> /dev/null || { \
	  $(BIN)/python -c 'from PIL import Image' 2> /dev/null \
	    || { echo "Pillow could not be installed again after pillow-simd had failed: see to the network and the disk, and run 'make setup' again." >&2; exit 1; }; \
	  echo "Pillow serves, as pillow-simd did not build or would read less (the same pixels, slower): 'make simd' installs the headers it needs and builds it." >&2; }
	@touch $@

# Without pip's cache, which would give back the build that was made before the headers were there. The build doesn't look
# where Debian keeps tiff.h unless it is told (or pkg-config is there).
.venv/simd:
	@CC="cc $$(test "$$(uname -m)" != x86_64 || echo -mavx2)" \
	  C_INCLUDE_PATH="/usr/include/$$(cc -print-multiarch 2> /dev/null)$${C_INCLUDE_PATH:+:$$C_INCLUDE_PATH}" \
	  $(PIP) wheel --quiet --no-cache-dir --no-deps --wheel-dir .venv/wheels '$(PILLOW_SIMD)' '$(AVIF)' > .venv/simd.log 2>&1
	@rm -rf .venv/tried && $(PIP) install --target .venv/tried $(SIMD_WHEELS)
	@has="$$(PYTHONPATH=.venv/tried $(BIN)/python -c '$(CODECS)')"; for codec in $$($(BIN)/python -c '$(CODECS)'); do \
	  case " $$has " in *" $$codec "*) ;; *) echo "Pillow stays, as pillow-simd would be without $$codec." >> .venv/simd.log; exit 1;; esac; done
	@$(PIP) uninstall --quiet --yes pillow pillow-simd
	@$(PIP) install $(SIMD_WHEELS) || { $(PIP) install --quiet -c constraints.txt pillow; exit 1; }
	@rm -rf .venv/tried && touch $@

# The headers of the image libraries and Python, then the build. Asks for the administrator's rights where you are not root.
simd: setup
	@test -e .venv/simd || { \
	  as=$$(test "$$(id -u)" = 0 || echo sudo); \
	  $$as apt-get update -qq && $$as apt-get install -y -qq --no-install-recommends libjpeg-dev liblcms2-dev libtiff-dev libwebp-dev zlib1g-dev python3-dev; }
	@$(MAKE) --no-print-directory --silent .venv/simd || { tail -n 20 .venv/simd.log; exit 1; }
	@$(BIN)/python -c 'import PIL; print("pillow-simd", PIL.__version__, "serves")'

prefect-up: setup
	@python -m flows.services up

prefect-down:
	@python -m flows.services down

# `eval "$(make -s s3-up)"` sets the variables that it prints.
s3-up: setup
	@python -m scn.storage.seaweedfs up --port $(S3_PORT)

s3-down:
	@python -m scn.storage.seaweedfs down

# wsss-lab. `make` alone lists what can be made.

# Options of `make reproduce`; give them on the command line: make reproduce PAPER=oh2017 SEEDS=3
PAPER := all
PROFILE := toy
SEEDS := 1
WORLD_SEED := 0
DEVICE := auto
JOBS := auto
OUT :=
EXECUTED :=
PARAMS :=
ARTIFACT :=
NETWORK := paper
# Folders, from the environment or the command line.
export WSSS_DATA WSSS_WEIGHTS WSSS_SALIENCY WSSS_COCO WSSS_CACHE

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.SUFFIXES:

# By default the commands run in .venv, which is made on the way. PYTHON=/path/to/python uses another
# environment as it is, and WSSS_NO_VENV=1 the active one (conda, for instance).
OPTIONS := PAPER PROFILE SEEDS WORLD_SEED DEVICE JOBS OUT EXECUTED PARAMS ARTIFACT NETWORK WSSS_DATA WSSS_WEIGHTS WSSS_SALIENCY \
           WSSS_COCO WSSS_CACHE PYTHON WSSS_NO_VENV
ifneq ($(origin PYTHON),command line)
  ifdef WSSS_NO_VENV
    PYTHON := python
  else
    PYTHON := .venv/bin/python
  endif
endif
ifeq ($(PYTHON),.venv/bin/python)
  READY := .venv/installed
else
  READY := importable
endif
WSSS = $(PYTHON) -m wsss_lab

# A misspelt option would silently leave the default in force.
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
UNKNOWN := $(filter-out $(OPTIONS) MAKE% -%,$(GIVEN))
ifneq ($(strip $(UNKNOWN)),)
  $(error unknown option $(firstword $(UNKNOWN))=; known are $(OPTIONS))
endif

.PHONY: help reproduce quick compare plan rehearsal test lab doctor book lint clean importable

help:  ## List the targets and options
	@echo "wsss-lab: weakly supervised semantic segmentation, paper by paper"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo; echo "Options, with the values in force:"
	@echo "  PAPER=$(PAPER)  PROFILE=$(PROFILE) (quick, lesson, toy, toy-long, photos, voc)  SEEDS=$(SEEDS)  WORLD_SEED=$(WORLD_SEED)"
	@echo "  DEVICE=$(DEVICE) (auto, cpu, cuda)  JOBS=$(JOBS)  OUT=folder  EXECUTED=folder, of notebooks"
	@echo "  PARAMS='name=value ...'"
	@echo "  ARTIFACT=paper/table, only this one: no notebook, and no training that it doesn't need"
	@echo "  NETWORK=$(NETWORK) (paper, mobilenet), of a rehearsal"
	@echo "  WSSS_DATA=folder  WSSS_WEIGHTS=folder  WSSS_SALIENCY=folder  WSSS_COCO=folder  WSSS_CACHE=folder"
	@echo "  PYTHON=python  WSSS_NO_VENV=1"

reproduce: $(READY)  ## Run the notebooks headless: every table and figure, then a summary
	@$(WSSS) reproduce --paper "$(PAPER)" --profile "$(PROFILE)" --seeds "$(SEEDS)" \
	    --world-seed "$(WORLD_SEED)" --device "$(DEVICE)" --jobs "$(JOBS)" \
	    $(if $(OUT),--out "$(OUT)") $(if $(EXECUTED),--executed "$(EXECUTED)") \
	    $(if $(ARTIFACT),--artifact "$(ARTIFACT)") $(foreach assignment,$(PARAMS),--param "$(assignment)")

quick: override PROFILE := quick
quick: reproduce  ## The same in the smallest profile, into figures/own/quick: does every cell run?

compare: $(READY)  ## Put the results of your own runs (OUT) beside those that are kept in figures/
	@$(WSSS) compare $(if $(OUT),--out "$(OUT)")

plan: $(READY)  ## Say what a run of PAPER and PROFILE will take, and train nothing
	@$(WSSS) plan --paper "$(PAPER)" --profile "$(PROFILE)" --seeds "$(SEEDS)" --device "$(DEVICE)" --jobs "$(JOBS)" \
	    $(if $(ARTIFACT),--artifact "$(ARTIFACT)",--trainings)

rehearsal: $(READY)  ## Run PROFILE=voc with trainings that end at once, on a small devkit: does everything come out?
	@$(WSSS) rehearse --paper "$(PAPER)" --network "$(NETWORK)" --jobs "$(JOBS)" $(if $(OUT),--out "$(OUT)")

test: $(READY)  ## Run the tests
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 \
		$(PYTHON) -m pytest -n 2

lab: $(READY)  ## Open the notebooks in JupyterLab
	@$(PYTHON) -m jupyter lab --notebook-dir=. notebooks

doctor: $(READY)  ## Check environment, data, weights and GPU; say what fixes what is missing
	@$(WSSS) doctor

book: $(READY)  ## Write the executed notebooks of PROFILE and the gallery as a site, into build/book
	@$(WSSS) book --profile "$(PROFILE)" $(if $(EXECUTED),--executed "$(EXECUTED)") $(if $(OUT),--figures "$(OUT)")

lint: $(READY)  ## Check the style of the code
	@$(PYTHON) -m ruff check wsss_lab tests

clean:  ## Remove what was built; the environment and the run store stay
	rm -rf build figures/own/quick figures/own/lesson *.egg-info .pytest_cache .ruff_cache
	find wsss_lab tests -name __pycache__ -prune -exec rm -rf {} +

# The environment is made anew only when pyproject.toml changes.
.venv/installed: pyproject.toml
	@.ci/setup-venv .venv
	@touch $@

importable:
	@$(PYTHON) -c "import wsss_lab" 2>/dev/null || { \
	    echo "$(PYTHON) can't import wsss_lab; install it there: $(PYTHON) -m pip install -e '.[dev]'" \
	         "(conda: --no-deps --no-build-isolation -e .)" >&2; exit 1; }

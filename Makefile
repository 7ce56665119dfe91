# edgegd: `make demo` and `make test` need nothing but Python 3.10 to 3.13; every target sets up .venv itself.
#
#   make demo                                        the demo recipe: draw scenes, quantize, prove, report
#   make qat RECIPE=recipes/bccd/yolo26n.yaml        a recipe up to one stage (float, ptq, qat, export, verify, ...)
#   make report RECIPE=my.yaml SET="train.epochs=3"  SET holds overrides, RUN the run folder
#   make prove RUN=runs/demo TARGET=pi5               codes, mAP, latency and limits of a run's files on a device
#   make verify-arm64 RUN=runs/demo                  codes on emulated ARM CPUs; also verify-avx2, MODEL=x.onnx
#   make arm-cost                                    counted instructions on emulated ARM CPUs against the committed ones
#   make test                                        every test, and which of them this CPU could not run
#   make test-ray                                    sweeps on a Ray cluster of two nodes; installs Ray
#   make quick                                       the tests that train nothing, start no sshd and emulate no CPU
#   make build                                       wheel and sdist, checked, and the wheel tried in an empty environment
#   make check-arm64-wheels                          that ARM64 Linux can install what constraints.txt says; needs uv
#
# PIP_ARGS goes to pip, for example to take CPU-only wheels of torch and torchvision from PyTorch's own index.

PYTHON ?= python3
PIP_ARGS ?=
RECIPE ?= recipes/streets/yolo26n.yaml
RUN ?=
SET ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUN_RECIPE = $(BIN)/edgegd run $(RECIPE) $(foreach pair,$(SET),--set $(pair)) $(if $(RUN),--run-dir $(RUN))

.DEFAULT_GOAL := help
.PHONY: fuzz test-lowest test-newest latency-test test-avx2 emulation verify-arm64 verify-avx2 activation adapt search
.PHONY: help install demo test lint bench models docs constraints clean data float ptq qat export verify accuracy latency report

help:
	@sed -n 's/^# \{0,1\}//p' Makefile

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; ok = (3, 10) <= v[:2] <= (3, 13); \
	  sys.exit(0 if ok else f"edgegd needs Python 3.10 to 3.13, found {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[train,dev]"
	@touch $@

demo: $(INSTALLED)
	$(BIN)/edgegd run streets/yolo26n --run-dir runs/demo

data float activation adapt search ptq qat export verify accuracy latency report: $(INSTALLED)
	$(RUN_RECIPE) --until $@

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# 1,910 malformed inputs and 186 lying devices (docs/fuzzing.md); another SEED is as many others.
SEED ?= 0
fuzz: $(INSTALLED)
	$(BIN)/python -m fuzz --seed $(SEED) --jobs 2

.PHONY: test-ray
# Ray is 240 MB, so that `make install` leaves it out; without it these tests are skipped by name.
test-ray: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[ray]"
	$(BIN)/python -m pytest tests/pipeline/test_sweep_ray.py

# The oldest and the newest versions that pyproject.toml allows, each in an environment of its own (6 GB).
test-lowest test-newest: test-%:
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python tests/lowest_versions.py $(if $(filter newest,$*),--none) > .venv-$*/pins.txt
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c .venv-$*/pins.txt -e ".[train,dev]"
	.venv-$*/bin/python -m pytest -n 2 --dist loadfile

# The same as on a CPU without VNNI, at native speed, on an x86 CPU that has it (tests/without_vnni.py); needs gcc, binutils.
test-avx2: $(INSTALLED)
	$(BIN)/python tests/without_vnni.py $(BIN)/python -m pytest -n 2 --dist loadfile

# Gates our own edge file against the one of tests/latency/baselines, on this machine; let nothing else run.
latency-test: $(INSTALLED)
	$(BIN)/python -m pytest -m latency tests/latency

# What emulating other CPUs needs, fetched once into ~/.cache (docs/emulation.md).
emulation: $(INSTALLED)
	$(BIN)/python -m edgegd.targets.emulation_cache

.PHONY: prove
TARGET ?= local
prove: $(INSTALLED)
	$(BIN)/edgegd prove $(or $(RUN),runs/demo) --target $(TARGET)

# RUN or MODEL on emulated CPUs against this one; without either, a small run made for the profile of those CPUs.
MODEL ?=
SMALL_RUN = $(BIN)/edgegd run streets/yolo26n --until export --set model.imgsz=128 --set train.epochs=1 \
  --set data.path=datasets/streets-emulation --set data.train_images=16 --set data.val_images=8 \
  --set quant.calibration_images=8 --set target.profile=$(1) --run-dir runs/emulation-$(1)
# $(1): profile, $(2): a CPU of it.
define EMULATE
	$(if $(MODEL)$(RUN),,$(call SMALL_RUN,$(1)))
	$(BIN)/edgegd emulate $(or $(MODEL),$(RUN),runs/emulation-$(1)) --cpu $(2)
endef

verify-arm64: $(INSTALLED)
	$(call EMULATE,arm64,cortex-a76)
	$(call EMULATE,arm64-nodot,cortex-a72)

verify-avx2: $(INSTALLED)
	$(call EMULATE,x86-avx2,haswell)

.PHONY: arm-cost
# Instructions of one inference on emulated Cortex-A76 and A72, by class, against benchmarks/results/arm_cost.json: no latency.
# Builds QEMU with plugins once (5 minutes of a core); then about 4 minutes of a core. ARGS: see benchmarks/arm_cost.py.
ARGS ?=
arm-cost: $(INSTALLED)
	$(BIN)/python benchmarks/arm_cost.py $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check edgegd tests benchmarks fuzz
	$(BIN)/ruff format --check edgegd tests benchmarks fuzz
	$(BIN)/mypy

# Those that need no data of yours and end within half an hour; the others say in their headers how they are run.
bench: $(INSTALLED)
	set -e; for name in demo passes whole_path scaling fake_quantize qat_step_cost; do $(BIN)/python benchmarks/$$name.py; done

# The checkpoint that ships. It took 83 minutes on two cores that other work shared.
models: $(INSTALLED)
	$(BIN)/edgegd run streets/yolo26n-float --run-dir runs/streets-yolo26n-float --until float
	cp runs/streets-yolo26n-float/float.pt models/streets-yolo26n-320.pt

docs: $(INSTALLED)
	set -e; for page in cli errors recipes; do $(BIN)/python -m edgegd.cli.document $$page > docs/$$page.md; done
	$(BIN)/python benchmarks/doc_tables.py
	$(BIN)/python benchmarks/result_picture.py

.PHONY: check-docs
# That the generated pages, and the tables of README.md and docs/, are as `make docs` and benchmarks/doc_tables.py write them.
check-docs: $(INSTALLED)
	$(BIN)/python -m pytest tests/cli/test_document.py tests/benchmarks/test_doc_tables.py -k "page or picture"

# One resolution for every supported Python; needs uv.
constraints:
	uv pip compile --universal --python-version 3.10 pyproject.toml --all-extras --no-annotate --no-header --upgrade -q -o constraints.new
	(head -1 constraints.txt; cat constraints.new) > constraints.txt.new && mv constraints.txt.new constraints.txt && rm constraints.new

.PHONY: quick check-arm64-wheels

# Within three minutes on two cores, for between two edits. tests/kinds.py says what is left out.
QUICK = not (training or sshd or emulator or slow or latency)
quick: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "$(QUICK)"

# That all of edgegd[train,dev] has wheels for ARM64 Linux with glibc 2.28 or later at the versions of constraints.txt,
# on whatever machine this runs. By uv because pip judges `python_version` and `platform_machine` by its own machine.
check-arm64-wheels:
	@set -e; for version in 3.10 3.11 3.12 3.13; do \
	  uv pip compile --quiet --no-annotate --no-header --only-binary :all: --python-version $$version \
	    --python-platform aarch64-manylinux_2_28 -c constraints.txt --extra train --extra dev pyproject.toml >/dev/null; \
	  echo "Python $$version on ARM64 Linux: every package has a wheel"; done

.PHONY: build
# Wheel and sdist, checked as PyPI checks them, and the wheel tried in an empty environment, as on a device.
build:
	rm -rf dist .venv-build .venv-wheel
	$(PYTHON) -m venv .venv-build
	.venv-build/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) build twine
	.venv-build/bin/python -m build --outdir dist .
	.venv-build/bin/python -m twine check --strict dist/*
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) "edgegd[image] @ file://$$(ls $(CURDIR)/dist/*.whl)"
	cd .venv-wheel && bin/edgegd --version && bin/edgegd doctor && bin/edgegd recipe ls && bin/python ../tests/wheel_contents.py

clean:
	rm -rf $(VENV) .venv-lowest .venv-newest .venv-build .venv-wheel runs build dist *.egg-info

# SPDX-License-Identifier: Apache-2.0
# Every target sets up what it needs: a virtual environment in .venv, Node and the CDK CLI inside it and node_modules.
SHELL := /bin/sh
.SHELLFLAGS := -ec
.DEFAULT_GOAL := help

PYTHON ?= python3
SOURCES := .:constructs:component_src/agent:component_src/image_classification:component_src/object_detection:component_src/common
ENV ?= dev
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
# The pinned Node (from PyPI) stands in .venv/bin: whatever Node the machine has is never used.
export PATH := $(CURDIR)/$(BIN):$(CURDIR)/node_modules/.bin:$(PATH)
export JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION := 1
export CDK_DISABLE_CLI_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export NODE_NO_WARNINGS := 1

# Python compiles what is imported when it is first imported; compiling all of aws-cdk-lib takes minutes.
unexport PYTHONDONTWRITEBYTECODE
PIP_INSTALL = -m pip install --quiet --no-compile --require-hashes -r

.PHONY: help
help: ## list these targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up: each stamp is younger than what it was made from -------------------------------------------------------
$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is %d.%d (%s). Name another one: make PYTHON=python3.12 ..." % (v[0], v[1], sys.executable))'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/app.stamp: requirements.txt $(VENV)/pyvenv.cfg
	@echo "installing the CDK app's requirements into $(VENV) ..."
	@$(PY) $(PIP_INSTALL) requirements.txt
	@touch $@

$(VENV)/local.stamp: requirements-local.txt $(VENV)/app.stamp
	@echo "installing what the local AWS and core device need ..."
	@$(PY) $(PIP_INSTALL) requirements-local.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/local.stamp
	@echo "installing the development tools ..."
	@$(PY) $(PIP_INSTALL) requirements-dev.txt
	@touch $@

node_modules/cdk.stamp: package-lock.json $(VENV)/app.stamp
	@echo "installing the CDK CLI ..."
	@npm ci --loglevel=error --no-audit --no-fund --no-progress > /dev/null
	@touch $@

$(VENV)/aws.stamp: local/aws/requirements.txt $(VENV)/pyvenv.cfg
	@echo "installing the embedded AWS ..."
	@$(PYTHON) -m venv --clear $(VENV)/aws
	@$(VENV)/aws/bin/python $(PIP_INSTALL) local/aws/requirements.txt
	@touch $@

.PHONY: setup
setup: $(VENV)/dev.stamp $(VENV)/aws.stamp node_modules/cdk.stamp ## install everything; the other targets work without a network after it

# --- the two commands -----------------------------------------------------------------------------------------------
.PHONY: demo
demo: $(VENV)/local.stamp $(VENV)/aws.stamp node_modules/cdk.stamp ## from clone to a prediction in the bucket, on this machine
	@$(PY) -m local.demo

.PHONY: test
test: check $(VENV)/aws.stamp ## everything: the checks below, then every test with the end-to-end run
	@$(PY) -m pytest --numprocesses=2 --dist=loadfile

.PHONY: soak
soak: $(VENV)/dev.stamp $(VENV)/peers.stamp ## the long forms of the fault tests; a million hostile messages for each fuzz target
	@$(PY) -m pytest -m soak --timeout=3600
	@for target in codec predict capture http2; do \
	  PYTHONPATH=$(SOURCES) $(VENV)/peers/bin/python -m benchmarks.soak $$target 1000000 600 || exit 1; done

# --- its parts ------------------------------------------------------------------------------------------------------
.PHONY: check
check: lint types synth ## lint, types, synth with cdk-nag and cfn-lint; needs no network once set up

.PHONY: lint
lint: $(VENV)/dev.stamp ## ruff (format and rules) and the arrows between packages
	@ruff format --check --quiet .
	@ruff check --quiet .
	@PYTHONPATH=$(SOURCES) lint-imports --no-cache > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }

.PHONY: types
types: $(VENV)/dev.stamp ## mypy --strict, tests included
	@mypy --no-error-summary .

.PHONY: synth
synth: $(VENV)/dev.stamp node_modules/cdk.stamp ## synthesise every environment into cdk.out; cdk-nag and cfn-lint
	@rm -rf cdk.out
	@cdk synth '**' --quiet --no-notices
	@cfn-lint

.PHONY: lint-recipes
lint-recipes: $(VENV)/dev.stamp ## check recipes of your own: make lint-recipes FILES="a.json b.yaml"
	@test -n "$(FILES)" || { echo 'name the recipes: make lint-recipes FILES="recipe.json other.yaml"' >&2; exit 2; }
	@PYTHONPATH=$(SOURCES) $(PY) -m edge_recipe lint $(FILES)

.PHONY: refusals
refusals: $(VENV)/dev.stamp ## write docs/refusals.md from the tests that record what is refused
	@$(PY) -m pytest -q -m refusal --write-refusals tests

$(VENV)/peers.stamp: benchmarks/requirements-peers.txt $(VENV)/pyvenv.cfg
	@echo "installing the model servers to compare with ..."
	@$(PYTHON) -m venv --clear $(VENV)/peers
	@$(VENV)/peers/bin/python $(PIP_INSTALL) benchmarks/requirements-peers.txt
	@touch $@

.PHONY: bench
bench: $(VENV)/dev.stamp ## the agent against ONNX Runtime in process and other servers; BENCH=--quick for two minutes of it
	@$(MAKE) --no-print-directory $(VENV)/peers.stamp || echo "the others could not be installed: they will be missing"
	@PYTHONPATH=$(SOURCES) $(PY) -m benchmarks $(BENCH)

.PHONY: format
format: $(VENV)/dev.stamp ## let ruff mend what it can
	@ruff format .
	@ruff check --fix .

.PHONY: lock
lock: $(VENV)/dev.stamp ## allot versions in components.lock to changed components
	@PYTHONPATH=$(SOURCES) $(PY) -m stacks.lock

.PHONY: wheels
wheels: $(VENV)/dev.stamp ## fetch the Python packages that components carry (environments with artifacts.wheels = true)
	@PYTHONPATH=$(SOURCES) $(PY) -m stacks.wheels

.PHONY: snapshots
snapshots: $(VENV)/dev.stamp ## renew tests/snapshots after a change of the stacks that is meant
	@PYTHONPATH=$(SOURCES) $(PY) -m stacks.snapshots

.PHONY: diff
diff: $(VENV)/local.stamp node_modules/cdk.stamp ## what a change does to each environment; BASE=<git ref>, FORMAT=, OUT=<file>
	@$(PY) -m change_report $(if $(BASE),--base "$(BASE)") $(if $(FORMAT),--format $(FORMAT)) $(if $(OUT),--out "$(OUT)")

.PHONY: stubs
stubs: $(VENV)/dev.stamp ## generate the gRPC stubs of agent.proto again; a test holds them against it
	@$(PY) -m grpc_tools.protoc -I component_src/common --python_out=component_src/common \
	  --pyi_out=component_src/common --grpc_python_out=component_src/common edge_contract/agent.proto

# The device's locks resolve for Python 3.9 to 3.13 on every platform; the others for the Python of this project.
COMPILE = uv pip compile --quiet --universal --generate-hashes --no-header --custom-compile-command "make requirements"
.PHONY: requirements
requirements: $(VENV)/dev.stamp ## compile every requirements file again (needs the network)
	@$(COMPILE) $(UPGRADE) pyproject.toml --group dev -o requirements-dev.txt
	@$(COMPILE) pyproject.toml --group local -c requirements-dev.txt -o requirements-local.txt
	@$(COMPILE) pyproject.toml -c requirements-dev.txt -o requirements.txt
	@$(COMPILE) $(UPGRADE) local/aws/requirements.in -o local/aws/requirements.txt
	@$(COMPILE) $(UPGRADE) benchmarks/requirements-peers.in -o benchmarks/requirements-peers.txt
	@for component in component_src/*/requirements.in; do \
	  $(COMPILE) $(UPGRADE) --python-version 3.9 $$component -o $${component%.in}.txt || exit 1; done

# --- your own account: EDGE_<ENV>_ACCOUNT names it; see docs/operations/deploy.md ----------------------------------------
OPERATIONS = $(PY) -m operations
yes_to = $(if $(filter yes,$(1)),$(2))

.PHONY: deploy
deploy: $(VENV)/app.stamp node_modules/cdk.stamp ## deploy ENV=dev and verify it; APPROVE=yes asks nothing, prod needs it
	@$(OPERATIONS) deploy $(ENV) $(call yes_to,$(APPROVE),--approve)

.PHONY: verify
verify: $(VENV)/app.stamp ## wait until ENV's devices show that they run what is declared; OPTIONS="--first --restore --record"
	@$(OPERATIONS) verify $(ENV) $(OPTIONS)

.PHONY: restore
restore: $(VENV)/app.stamp ## deploy ENV's last good release again, and wait for its devices
	@$(OPERATIONS) restore $(ENV) $(OPTIONS)

.PHONY: pipeline
pipeline: $(VENV)/app.stamp node_modules/cdk.stamp ## deploy the delivery pipeline; APPROVE=yes asks nothing
	@$(OPERATIONS) pipeline $(call yes_to,$(APPROVE),--approve)

.PHONY: destroy
destroy: $(VENV)/app.stamp node_modules/cdk.stamp ## clear ENV's devices, delete its stacks; FORCE=yes does not wait for devices
	@$(OPERATIONS) destroy $(ENV) $(call yes_to,$(APPROVE),--approve) $(call yes_to,$(FORCE),--force)

.PHONY: prune
prune: $(VENV)/app.stamp ## show versions and artifacts of ENV that nothing names; YES=1 deletes them
	@$(OPERATIONS) prune $(ENV) $(if $(filter 1 yes,$(YES)),--yes)

.PHONY: device
device: $(VENV)/app.stamp ## issue the certificate of ENV's device NAME and write its folder; OUT=, NUCLEUS=classic|lite
	@test -n "$(NAME)" || { echo 'NAME=<device> is missing, as environments/$(ENV).toml names it'; exit 2; }
	@$(OPERATIONS) device $(ENV) $(NAME) $(if $(OUT),--out "$(OUT)") $(if $(NUCLEUS),--nucleus $(NUCLEUS))

.PHONY: clean
clean: ## remove what was built and installed here
	rm -rf $(VENV) node_modules cdk.out build .mypy_cache .ruff_cache .pytest_cache .hypothesis

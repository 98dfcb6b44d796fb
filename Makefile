# Everything from a fresh clone. It needs python3 (3.11 or newer) with venv.
PYTHON ?= python3
override PYTHON := $(or $(strip $(PYTHON)),python3)
VENV := .venv
BIN := $(VENV)/bin

# PROGRAM is made when the program is installed, STAMP when what the tests need is there too.
PROGRAM := $(VENV)/.program
STAMP := $(VENV)/.installed

# Settings of a pip configuration that would break an install into a virtual environment are overridden.
PIP := PIP_USER=0 PIP_REQUIRE_HASHES=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(BIN)/python -m pip install --quiet

# PYTHONDONTWRITEBYTECODE would make each process of a test compile the program anew. PYTHONPATH and PYTHONHOME would
# bring modules of the user into the set-up.
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME

PYTEST := $(BIN)/python -m pytest
REPORT := --junit-xml=.reports
QUICK_TESTS := tests/unit --ignore-glob='*/test_export_*'

# The oldest and the newest Python that are tested. With pyenv: PYENV_VERSION=3.11.7:3.13.0
PYTHONS ?= python3.11 python3.13

.PHONY: demo quick test timed traced traced-unit traced-others untraced test-page test-all-pythons test-install test-sdks test-http test-store test-ray test-deploy test-python \
	check messages mutants mutants-generated soak soak-simulation bench bench-rate bench-shards bench-batch bench-keeper bench-store \
	bench-tables lock clean

demo: $(PROGRAM)
	@echo 'Starting the demo: $(BIN)/bulkdel demo'
	@$(BIN)/bulkdel demo

# While you write: linters, types, and the unit tests but those of reading exports. About a minute.
quick: check
	$(PYTEST) -n 2 --dist worksteal -m 'not soak' $(QUICK_TESTS)

# The tests that measure time leave the processors idle, so the linters run beside them. Then everything else runs at once.
test: $(STAMP)
	$(MAKE) --jobs=2 check timed
	$(MAKE) --jobs=3 traced untraced
	$(BIN)/python -m tests.skipped .reports/traced-unit.xml .reports/traced-others.xml .reports/untraced.xml .reports/timed.xml

# Every file with a test that is marked as `alone`: to look for them in all files would take as long as they do.
TIMED := $(addprefix tests/,$(addsuffix .py,e2e/test_waiting e2e/test_command e2e/test_control_faults e2e/test_page e2e/test_shards integration/test_rate_limiter))

timed: $(STAMP)
	$(PYTEST) -n 2 --dist loadfile -m 'alone and not soak' $(TIMED) $(REPORT)/timed.xml

# Coverage: at least 90 % of the program, and every line and branch of the core. pytest runs twice, each time in one
# process: with workers, thousands of short tests would take a third longer.
TRACED := $(BIN)/coverage run -m pytest -m 'not untraced and not alone and not soak'

traced: $(STAMP)
	$(BIN)/coverage erase
	$(MAKE) traced-unit traced-others
	$(BIN)/coverage combine --quiet
	rm -f .coverage.*  # a process that a test killed leaves half a file
	$(BIN)/coverage report --skip-covered --fail-under=90
	$(BIN)/coverage report --include='runner/bulkdel/core/*' --fail-under=100

traced-unit: $(STAMP)
	$(TRACED) tests/unit $(REPORT)/traced-unit.xml

traced-others: $(STAMP)
	$(TRACED) tests/integration tests/e2e $(REPORT)/traced-others.xml

# Of unit/, only the files with a test that is marked as `untraced`: to collect the others would take as long. `nice` lets
# the two traced processes go first.
UNTRACED := $(addprefix tests/,campaigns e2e integration simulation $(addprefix unit/test_,$(addsuffix .py, \
	docs export_preflight export_roundtrip skipped_rows store_model)))

untraced: $(STAMP)
	nice -n 5 $(PYTEST) -n 6 --dist worksteal -m 'untraced and not alone and not soak' $(UNTRACED) $(REPORT)/untraced.xml

# All tests but `alone` and `soak` on every Python of PYTHONS, each in an environment of its own, without coverage.
test-all-pythons:
	for python in $(PYTHONS); do $(MAKE) test-python PYTHON=$$python VENV=.venv-$$(basename $$python) || exit 1; done

test-python: $(STAMP)
	$(BIN)/python --version
	$(PYTEST) -n 4 --dist worksteal -m 'not alone and not soak'

# Installs as README.md says, from the tree and from the sdist, with pip, pipx and uv. They download what they need.
test-install:
	rm -rf .install build
	$(PYTHON) -m venv .install
	.install/bin/python -m pip install --quiet build pipx uv
	.install/bin/python -m build --sdist --outdir .install/dist . >.install/build.log
	for source in . .install/dist/bulkdel-*.tar.gz; do tests/install.sh .install $$source || exit 1; done
	rm -rf .install build

# A whole offboarding with each of the vendor's own SDKs against the sandbox, a minute. They come from pip and npm.
test-sdks: $(STAMP)
	$(BIN)/python -m tests.sdks

# Real clicks on the live page in a headless Chromium, three minutes, and its pictures in every state, which are kept in
# .page/ and judged by axe-core. It and playwright-core come from npm, Chromium from Debian.
test-page: $(STAMP)
	$(BIN)/python -m tests.browser

# The examples of docs/http-job.md against independent servers: scim2-server, and moto for S3. They come from pip.
test-http:
	$(MAKE) .venv-http/.installed VENV=.venv-http GOAL=$@
	.venv-http/bin/python -m pip install --quiet botocore 'moto[s3,server]' scim2-server
	.venv-http/bin/python -m pytest -n 0 tests/e2e/test_http_servers.py tests/integration/test_parts_auth.py

# Exports and logs in stores against moto, another implementation of S3. It comes from pip, and so does botocore.
test-store:
	$(MAKE) .venv-store/.installed VENV=.venv-store GOAL=$@
	.venv-store/bin/python -m pip install --quiet botocore 'moto[s3,server]'
	.venv-store/bin/python -m pytest -n 0 tests/e2e/test_buckets.py tests/e2e/test_store_moto.py

# Shards on a Ray cluster of several nodes on this machine, which are killed, frozen and, by root, cut off: about ten
# minutes. Ray and moto come from pip.
test-ray:
	$(MAKE) .venv-ray/.installed VENV=.venv-ray GOAL=$@
	.venv-ray/bin/python -m pip install --quiet 'ray>=2.55,<3' 'moto[s3,server]'
	.venv-ray/bin/python -m pytest -n 0 -rs -m 'not soak' tests/e2e/test_ray.py tests/e2e/test_ray_batch.py tests/e2e/test_ray_cut_off.py

# The manifests by kubernetes-validate, the units by systemd-analyze, the image by buildah on a base of debootstrap, which
# needs root. Two minutes the first time, then one. What the machine lacks is named and left out.
test-deploy: $(STAMP)
	$(BIN)/python -m tests.deploy

# Every distinct line that the commands of the e2e tests print, in .reports/messages.txt, for a person to read. The commands
# among them that only read are run. Six minutes.
messages: $(STAMP)
	rm -rf .reports/messages && mkdir -p .reports/messages
	TESTS_MESSAGES=$(CURDIR)/.reports/messages $(PYTEST) -n 3 --dist worksteal -m 'not alone and not soak' tests/e2e
	$(BIN)/python -m tests.messages .reports/messages .reports/messages.txt

# Every mutant: programs that break one promise each, and the test that must fail. About 20 minutes on two idle cores.
mutants: $(STAMP)
	$(BIN)/python -m pytest -n 5 --dist worksteal tests/campaigns/test_mutants.py

# 600 changes that mutmut draws from the modules that decide. A unit test must fail by 95 % of them; the others are printed.
# Ten minutes. mutmut comes from pip.
mutants-generated:
	$(MAKE) .venv-mutmut/.installed VENV=.venv-mutmut GOAL=$@
	.venv-mutmut/bin/python -m pip install --quiet 'mutmut>=3.8,<4'
	.venv-mutmut/bin/python -m tests.generated

# All that `make test` leaves out, and its campaigns by the thousand: 10,000 kills, 100,000 ids a fault, every signal in every state, 300
# random campaigns, ten million ids, every mutant, every example of hypothesis. Some hours on two cores.
soak: $(STAMP)
	EXAMPLES=all $(BIN)/python -m pytest -n 2 --dist worksteal -m 'not alone and not soak' tests/unit tests/integration
	EXAMPLES=all $(BIN)/python -m pytest -n 4 --dist worksteal -m 'soak and not alone' --ignore=tests/simulation
	$(BIN)/python -m pytest -n 0 -m 'soak and alone' tests/e2e

# 200,000 simulated runs, 170,000 of them deletions: about an hour and a quarter on two idle cores.
soak-simulation: $(STAMP)
	$(BIN)/python -m pytest -v -n 2 --dist worksteal -m soak tests/simulation

# Speed, compared with the bare loop and the SDK: some minutes, or one with `make bench QUICK=--quick`. Both sides of a
# ratio run in turn, so a busy machine slows down both. The server is nginx where it is installed, else a stub.
bench: $(STAMP)
	$(BIN)/python -m tests.bench $(QUICK)

# How much of the rate is used, in a minute. A slow machine does not change the figures; a busy one may.
bench-rate: $(STAMP)
	$(BIN)/python -m tests.bench_rate

# The same with the log in a store whose commits take 40 ms, some of them 2 s: how much of the rate is used, and how many
# rows a kill would leave in doubt. Four minutes.
bench-store: $(STAMP)
	$(BIN)/python -m tests.bench_store

# A batch of 300 look-alike pools of 1,000 users each: time, CPU and memory. About ten minutes on two cores.
bench-batch: $(STAMP)
	$(BIN)/python -m tests.bench.batch

# What a run in 2 and 4 shards costs on a processor, and how fast it is, against one process: two minutes, as root, and
# on an idle machine.
bench-shards: $(STAMP)
	$(BIN)/python -m tests.bench_shards

# CPU of the keeper of the rate, with 300 processes in 300 groups. Half a minute.
bench-keeper: $(STAMP)
	$(BIN)/python -m tests.bench.keeper

# `plan` of a workbook of 1,000,000 rows and of Parquet of 10,000,000 against CSV with the same ids. Five minutes.
bench-tables: $(STAMP)
	$(BIN)/python -m tests.bench_tables

check: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# What is said where $(PYTHON) cannot be used.
GOAL ?= $(or $(MAKECMDGOALS),demo)
GET := On Debian and Ubuntu: apt install python3-venv. On Fedora: dnf install python3. On macOS: brew install python.
GET_NEWER := On Debian and Ubuntu: apt install python3.11-venv. On Fedora: dnf install python3.11. \
	On macOS: brew install python@3.11. Then: make $(GOAL) PYTHON=python3.11
USABLE := import sys; \
	sys.version_info < (3, 11) and sys.exit("Python %d.%d is too old: bulkdel needs 3.11 or newer. $(GET_NEWER)" % sys.version_info[:2]); \
	import importlib.util; \
	importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip") or sys.exit("venv is missing in $(PYTHON). $(subst python3-venv,$(notdir $(PYTHON))-venv,$(GET))")

# A package whose installation was interrupted has no RECORD. pip would take it for installed.
WHOLE = find $(VENV) -name '*.dist-info' ! -exec test -e '{}/RECORD' ';' -prune -exec rm -rf '{}' +

# --no-compile: to compile every package takes longer than the demo. Python compiles what is imported.
$(PROGRAM): pyproject.toml requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo '$(PYTHON) is missing. $(GET)' >&2; exit 1; }
	@$(PYTHON) -c '$(USABLE)'
	@echo 'Creating $(VENV) with $(PYTHON)'
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing the $$(grep -c == requirements.lock) packages of requirements.lock into $(VENV)"
	@$(WHOLE)
	@$(PIP) --no-compile --require-hashes -r requirements.lock
	@echo 'Installing bulkdel into $(VENV)'
	@$(PIP) --no-index --no-deps --no-build-isolation -e .
	@touch $@

# Everything is compiled: tests count and break the writes of a command, and a write of byte code is none of them.
$(STAMP): $(PROGRAM) requirements-test.lock
	@echo "Installing the $$(grep -c == requirements-test.lock) packages of requirements-test.lock into $(VENV), for the tests"
	@$(WHOLE)
	@$(PIP) --require-hashes -r requirements.lock -r requirements-test.lock
	@$(BIN)/python -m compileall -qq $(VENV)/lib || true
	@touch $@

# Resolved on the oldest Python, whose markers are a superset. A lock names packages and hashes only: the user's pip
# configuration, servers and folders are kept out of it.
UPGRADE ?= --upgrade
COMPILE := env -u PIP_FIND_LINKS -u PIP_CONSTRAINT PIP_CONFIG_FILE=/dev/null CUSTOM_COMPILE_COMMAND='make lock PYTHON=python3.11' \
	.lock/bin/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	--strip-extras --allow-unsafe --all-build-deps

# The extras of the image: all but Ray.
IMAGE := --extra aws --extra excel --extra metrics --extra notify --extra parquet --extra remote

# $(call ADDED,NAME,EXTRAS): requirements-NAME.lock has what the extras add to requirements.lock, in the same versions.
define ADDED
	cp .lock/all .lock/$(1)
	$(COMPILE) $(2) --output-file .lock/$(1) pyproject.toml
	echo '# What `$(2)` adds to requirements.lock. Made by: make lock PYTHON=python3.11' >requirements-$(1).lock
	awk 'NR == FNR { program[$$1]; next } /^[^ ]/ { drop = $$1 in program } NF && !drop' requirements.lock .lock/$(1) >>requirements-$(1).lock
endef

# Newer versions of everything; `make lock UPGRADE=` keeps those that are there.
lock: .lock
	cat requirements*.lock >.lock/all
	$(COMPILE) $(UPGRADE) --extra test $(IMAGE) --output-file .lock/all pyproject.toml
	cp .lock/all requirements.lock
	$(COMPILE) --output-file requirements.lock pyproject.toml
	$(call ADDED,test,--extra test)
	$(call ADDED,image,$(IMAGE))
	! grep -nE '://|^-|(^| )/' requirements*.lock
	rm -rf .lock

.lock:
	$(PYTHON) -m venv .lock
	PIP_CONFIG_FILE=/dev/null .lock/bin/python -m pip install --quiet pip-tools

clean:
	rm -rf $(VENV) .venv-* .lock .bench .deploy .install .mutmut .sdks .page .reports build dist *.egg-info .coverage .coverage.* .mypy_cache .ruff_cache \
		.pytest_cache .hypothesis .import_linter_cache
	find runner jobs tests -name __pycache__ -prune -exec rm -rf {} +

# Every target sets itself up in .venv and may be run twice. Paths are relative, so that a path with spaces is fine.
# The first that really runs and is new enough: a name on the PATH may be a version manager's empty shim.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$python -c "import sys; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1 && echo $$python && exit; \
	done; echo python3)
VENV := .venv
BIN := $(VENV)/bin/python
PIP := $(BIN) -m pip install --quiet --disable-pip-version-check
SDK2 := .venv-openai2
CHROMIUM := /usr/bin/chromium

.DEFAULT_GOAL := help
.PHONY: binary binary-test help run test lint format docs sdk-test node-test api-test browser-test wheel-test screenshots chromium oracles soak bench clean deploy-test fronts

help:
	@echo "make run       install into .venv and serve the repository's channels.yaml on 127.0.0.1:8080"
	@echo "make test      the whole test suite"
	@echo "make lint      ruff, mypy --strict, import rules"
	@echo "make sdk-test  the main job driven by the last openai 2.x (an environment of its own)"
	@echo "make node-test the main job driven by the openai npm package (where Node is present)"
	@echo "make api-test  /openapi.json against a running server, with schemathesis (an environment of its own)"
	@echo "make browser-test  the dashboard in Chromium (as root, apt installs it; elsewhere skipped where it is missing)"
	@echo "make deploy-test   deploy/: linted, nginx and Caddy in front of a server, a read-only root (as root, apt installs them)"
	@echo "make screenshots   docs/screenshots, taken anew"
	@echo "make wheel-test  the wheel in clean environments: the main job, every command, and who else owns \`proxy\`"
	@echo "make binary    dist/reelgate, one executable with everything in it"
	@echo "make binary-test  what that executable does: the main job, drop-in plugins, every command, what it leaves"
	@echo "make oracles   the providers' simulators driven by SDKs, the providers' own where they have one"
	@echo "make docs     write docs/providers.md and docs/configuration.md from the code"
	@echo "make soak      300 kills under load and faults; ARGS='--seed N --kills K --workers 2'"
	@echo "make bench     benchmarks/ beside their floors"
	@echo "make clean     remove the environments"

run: $(VENV)/.run
	@$(BIN) -m proxy serve $(ARGS)

# Two workers more than cores: many tests wait for processes that they killed, or for what hangs. Bytecode is kept even
# where the environment says otherwise: each worker would compile all the tests anew, each server the whole product.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.test
	$(BIN) -m pytest -n 4 --dist loadscope --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.test $(VENV)/.lint
	$(BIN) -m ruff check .
	$(BIN) -m ruff format --check .
	$(BIN) -m mypy
	$(BIN) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

format: $(VENV)/.lint
	$(BIN) -m ruff check --fix .
	$(BIN) -m ruff format .

sdk-test: $(VENV)/.test $(SDK2)/.ready
	REELGATE_SDK_PYTHON=$(SDK2)/bin/python $(BIN) -m pytest tests/sdk $(ARGS)

node-test: $(VENV)/.test
	@if command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1; then \
		npm install --silent --no-audit --no-fund --prefix tests/sdk/node && \
		REELGATE_NODE=1 $(BIN) -m pytest tests/sdk tests/webhooks tests/docs -k node $(ARGS); \
	else echo "node-test: skipped, there is no Node here"; fi

api-test: $(VENV)/.test
	$(BIN) -m tests.conformance $(ARGS)

# Without Chromium, or axe-core from npm, what needs it is skipped and says so.
browser-test: $(VENV)/.browser chromium
	@if [ ! -x $(CHROMIUM) ]; then \
		echo "browser-test: skipped, there is no $(CHROMIUM) here (as root, apt-get install chromium)"; exit; fi; \
	if command -v npm >/dev/null 2>&1; then \
		npm install --silent --no-audit --no-fund --no-package-lock --prefix tests/browser || exit; fi; \
	REELGATE_BROWSER=1 $(BIN) -m pytest tests/browser $(ARGS)

wheel-test: $(VENV)/.wheel
	REELGATE_WHEEL=1 $(BIN) -m pytest tests/wheel $(ARGS)

screenshots: $(VENV)/.browser chromium
	$(BIN) -m tests.browser.screenshots $(ARGS)

chromium:
	@if [ ! -x $(CHROMIUM) ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "Installing Chromium …"; export DEBIAN_FRONTEND=noninteractive; \
		get="apt-get install -y -qq --no-install-recommends chromium"; \
		$$get >/dev/null 2>&1 || { apt-get update -qq && $$get >/dev/null; } || true; fi

# What misses a program or root's rights is skipped and says so.
deploy-test: $(VENV)/.deploy fronts
	REELGATE_DEPLOY=1 $(BIN) -m pytest tests/deploy $(ARGS)

fronts:
	@if ! { command -v nginx && command -v caddy; } >/dev/null 2>&1 && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "Installing nginx and Caddy …"; export DEBIAN_FRONTEND=noninteractive; \
		get="apt-get install -y -qq --no-install-recommends nginx-light caddy"; \
		$$get >/dev/null 2>&1 || { apt-get update -qq && $$get >/dev/null; } || true; fi

# What the executable is made of.
BUNDLED := $(shell find proxy plugins packaging -type f -not -path '*/__pycache__/*') pyproject.toml

binary: dist/reelgate
	@echo "dist/reelgate: $$(($$(wc -c <dist/reelgate) / 1000000)) MB"

# The standard library's own distutils, and not the one that setuptools puts in its place.
dist/reelgate: $(VENV)/.binary $(BUNDLED)
	@echo "Building dist/reelgate; this takes a minute or two …"
	@SETUPTOOLS_USE_DISTUTILS=stdlib $(BIN) -m PyInstaller --noconfirm --log-level ERROR \
		--distpath dist --workpath build packaging/reelgate.spec

binary-test: $(VENV)/.test dist/reelgate
	REELGATE_BINARY=dist/reelgate $(BIN) -m pytest tests/binary $(ARGS)

oracles: $(VENV)/.test
	$(BIN) -m tests.oracles $(ARGS)

docs: $(VENV)/.test
	$(BIN) -m docs.providers
	$(BIN) -m docs.configuration

soak: $(VENV)/.test
	$(BIN) -m tests.soak --kills 300 $(ARGS)

bench: $(VENV)/.test
	$(BIN) -m benchmarks $(ARGS)
	$(BIN) -m benchmarks.polling

clean:
	rm -rf $(VENV) $(SDK2) .venv-oracles .venv-api-test tests/sdk/node/node_modules tests/browser/node_modules tests/plugins/*/node_modules

$(VENV)/.made:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null || { \
		echo "Reelgate needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)." >&2; \
		echo "Install it, or say where it is:  make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c "import ensurepip, venv" 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments: install its venv package (Debian: python3-venv)." >&2; exit 1; }
	@echo "Setting up .venv …"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.made pyproject.toml
	@$(PIP) -e ".[media]"
	@touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml
	@$(PIP) -e ".[all,test]"
	@touch $@ $(VENV)/.run

$(VENV)/.browser: $(VENV)/.test
	@$(PIP) -e ".[browser]"
	@touch $@

$(VENV)/.wheel: $(VENV)/.test
	@$(PIP) -e ".[wheel]"
	@touch $@

$(VENV)/.deploy: $(VENV)/.test
	@$(PIP) -e ".[deploy]"
	@touch $@

$(VENV)/.binary: $(VENV)/.test
	@$(PIP) -e ".[binary]"
	@touch $@

$(VENV)/.lint: $(VENV)/.made pyproject.toml
	@$(PIP) -e ".[lint]"
	@touch $@

$(SDK2)/.ready: pyproject.toml
	@$(PYTHON) -m venv $(SDK2)
	@$(SDK2)/bin/python -m pip install --quiet --disable-pip-version-check "openai>=2.54,<3"
	@touch $@

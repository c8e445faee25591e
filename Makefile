# Two commands matter: `make dev` shows runs moving, `make test` proves that everything works.
# Both install what they need into .venv, and system packages through apt when run by root.

PYTHON ?= python3
BIN := .venv/bin
# What the demo needs is there in half the time of what tests and benchmarks need besides.
READY := .venv/.ready
STAMP := .venv/.installed
# Packages for Node, installed as their lock files say: the clients of others, the pages that use them, runtimes, and a peer.
PACKAGES := client/node_modules/.installed tests/clients/node_modules/.installed tests/client/runtimes/node_modules/.installed \
	examples/react/node_modules/.installed examples/htmx/node_modules/.installed benchmarks/peers/node/node_modules/.installed

.PHONY: dev test lint types unit assets soak pictures quickstart bench bench-short bench-peers clean

dev: $(READY)
	$(BIN)/python -m demo

test: lint types unit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

# Most tests wait for something most of the time, so that three at once leave room on two cores. A file's tests stay together.
unit: $(STAMP) $(PACKAGES)
	scripts/system-packages chromium redis node nginx nchan caddy
	$(BIN)/python -m pytest -n 3 --dist loadfile

# What pages load, built from client/ and dashboard/ into gateway/web/assets. It is committed: installing needs no Node.
assets: client/node_modules/.installed
	client/node_modules/.bin/tsc --noEmit --project client
	node client/build.mjs

# What the tests try shortly, for longer: tokens renewed for a minute, and fifteen times as many random schedules.
soak: $(STAMP)
	scripts/system-packages redis
	RENEW_SECONDS=60 $(BIN)/python -m pytest tests/journeys/test_token_lifecycle.py -k renewed
	RUNCAST_EXAMPLES=1200 $(BIN)/python -m pytest --timeout 1200 \
		tests/gateway/feed/test_properties.py tests/gateway/feed/test_stream_properties.py

# What docs/quickstart.md says is pasted into shells, once after `pip install` and once after `make dev` in a fresh clone of what was
# committed, until a bar has moved in a page. Prints the seconds that the page shows.
quickstart: $(STAMP)
	scripts/system-packages chromium
	$(BIN)/python -m tests.examples.quickstart

# Pictures of all pages, elements and frames in light and dark, wide and narrow, live and not, to be looked at: in pictures/, or
# `make pictures PICTURES=elsewhere`.
PICTURES ?= pictures
pictures: $(STAMP) $(PACKAGES)
	scripts/system-packages chromium redis node
	mkdir -p $(PICTURES)
	RUNCAST_PICTURES=$(abspath $(PICTURES)) $(BIN)/python -m pytest tests/dashboard/test_accessibility.py tests/dashboard/test_states.py \
		tests/elements/test_variants.py tests/elements/test_connection.py tests/elements/test_words.py \
		tests/gateway/web/test_embed.py

# Deliveries, latency and memory beside a plain Starlette gateway, in one run of a few minutes.
bench: $(STAMP)
	$(BIN)/python -m benchmarks

bench-short: $(STAMP)
	$(BIN)/python -m benchmarks --short

# The same beside all peers, and the report that the docs show (docs/benchmarks.md): about twenty minutes, on a quiet machine.
bench-peers: $(STAMP) benchmarks/peers/node/node_modules/.installed
	scripts/system-packages redis node nginx nchan
	$(BIN)/python -m benchmarks --peers --json docs/benchmarks/results.json; status=$$?; \
	$(BIN)/python -m benchmarks.page docs/benchmarks/results.json && exit $$status

$(READY): pyproject.toml scripts/system-packages
	scripts/system-packages venv
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv, for a minute or less:"
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[embedded,demo]"
	touch $@

$(STAMP): $(READY)
	@echo "Installing what tests and benchmarks need, for a minute or two:"
	$(BIN)/python -m pip install --quiet --editable ".[embedded,celery,bench,dev]"
	touch $@

%/node_modules/.installed: %/package-lock.json
	scripts/system-packages node npm
	npm ci --prefix $* --no-audit --no-fund --loglevel=error
	touch $@

clean:
	rm -rf $(dir $(PACKAGES)) examples/react/dist
	rm -rf .venv .cache .runcast .pytest_cache .mypy_cache .ruff_cache .schemathesis .hypothesis

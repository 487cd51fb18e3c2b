# Every target sets up what it needs first; see scripts/setup.sh for what that is.
# CARGO_FLAGS may be given, such as --locked or --offline.

CARGO ?= cargo
CARGO_FLAGS ?= --locked
BIN := $(or $(CARGO_TARGET_DIR),target)/release

.PHONY: help setup build demo run test bench loadtest clean

help: ## What there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: ## Install what building and running need
	@scripts/setup.sh build

build: setup ## Build everything in release mode, into target/release
	$(CARGO) build --release $(CARGO_FLAGS) --workspace --exclude ebpf

demo: ## Set up, start a node, run 100 calls with audio through it, report
	@scripts/setup.sh build demo
	@$(MAKE) --no-print-directory build
	@$(BIN)/loadtest demo

run: build ## Set up, and serve SIP, REST and metrics on loopback
	@$(BIN)/tandem run --config "$$(scripts/run-config.sh)"

test: ## Set up, and run every check and test
	@scripts/setup.sh build demo test
	@scripts/test.sh

bench: ## Set up, and measure beside the peers
	@scripts/setup.sh build demo bench
	@$(MAKE) --no-print-directory build
	@scripts/bench.sh

loadtest: ## Set up, and put SIP and RTP load on a node of its own
	@scripts/setup.sh build demo
	@$(MAKE) --no-print-directory build
	@$(BIN)/loadtest run

clean: ## Remove what was built
	$(CARGO) clean

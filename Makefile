# sermill: everything a newcomer types. `make help` lists it.
#
#   make demo                                  build, synthesise a corpus, run all five stages on it
#   make test                                  all tests
#   make ingest features train score report PIPELINE=pipelines/paper.toml CORPORA=/data STORE=store/paper

PIPELINE ?= pipelines/paper.toml
CORPORA  ?= corpora
STORE    ?=
ARGS     ?=

TARGET   := $(or $(CARGO_TARGET_DIR),target)
SERMILL  := $(TARGET)/release/sermill
RUNTIME  := $(TARGET)/release/libonnxruntime.so
PYTHON   := $(TARGET)/python
STAGES   := ingest features train score report

.DEFAULT_GOAL := help
.PHONY: help build runtime python demo test check fmt clippy doc bench-stream run status $(STAGES)

help: ## this list
	@sed -n 's/^\([a-z][a-z -]*\):.*## /\1  -  /p' $(MAKEFILE_LIST)
	@echo 'ingest features train score report  -  one stage: PIPELINE= CORPORA= STORE= ARGS='

build: ## the program, optimised
	cargo build --release --locked --bins --tests

runtime: ## ONNX Runtime beside the program, from a hash-pinned wheel
	@sh runtime.sh $(TARGET)/release

python: ## DuckDB, Polars and pandas for the tests of the README's queries
	@sh tests/python/install.sh $(PYTHON)

demo: build runtime ## a synthetic corpus through all five stages
	@sh demo.sh $(SERMILL)

test: runtime python ## all tests
	SERMILL_PYTHON=$(abspath $(PYTHON)) cargo test --release --locked

check: fmt clippy test doc ## what must be green before a commit

fmt:
	cargo fmt --check

clippy:
	cargo clippy --release --locked --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --no-deps

bench-stream: ## training from 100,000 synthetic recordings against a few (13 GB of disk, freed at the end)
	cargo bench --locked --bench stream -- $(ARGS)

# Exit code 1 says "done, with rejected recordings": the chain goes on, the message has been printed.
define sermill
	@$(SERMILL) $(1) --pipeline $(PIPELINE) --corpora $(CORPORA) $(if $(STORE),--store $(STORE)) $(ARGS); \
	code=$$?; [ $$code -eq 1 ] && exit 0; exit $$code
endef

$(STAGES): build runtime
	$(call sermill,$@)

run: build runtime ## the pipeline's stages in order, stale ones only
	$(call sermill,run)

status: build ## which stages are stale, and why
	$(call sermill,status)

# sermill: everything a newcomer types. `make help` lists it.
#
#   make demo                                  build, synthesise a corpus, run all five stages on it
#   make test                                  all tests
#   make ingest features train score report PIPELINE=pipelines/paper.toml CORPORA=/data STORE=store/paper

PIPELINE ?= pipelines/paper.toml
CORPORA  ?= corpora
STORE    ?=
ARGS     ?=
SEEDS    ?= 1,2,3

TARGET   := $(or $(CARGO_TARGET_DIR),target)
SERMILL  := $(TARGET)/release/sermill
RUNTIME  := $(TARGET)/release/libonnxruntime.so
PYTHON   := $(TARGET)/python
PEERS    := $(TARGET)/peers
RAY      := $(TARGET)/ray
# A Python that has the peers of the benchmarks already; else they are installed from PyPI.
PEERS_PYTHON ?=
BENCH     = python3 tests/peers/bench.py --library $(RUNTIME) $(ARGS) \
            $(if $(PEERS_PYTHON),--python $(PEERS_PYTHON),--peers $(PEERS))
TORTURE   = python3 tests/torture/torture.py --sermill $(SERMILL) --library $(RUNTIME) --python $(PYTHON)
FUZZ      = cargo run --release --locked --example fuzz --
STAGES   := ingest features train score report

.DEFAULT_GOAL := help
.PHONY: help build runtime python ray cluster chaos arrays demo test torture fuzz check fmt clippy doc run status bench-train bench-score bench-features bench-stream agreement scorecard unseen baselines $(STAGES)

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

test: runtime python ## all tests, and a tenth of the torture
	SERMILL_PYTHON=$(abspath $(PYTHON)) cargo test --release --locked
	@$(TORTURE) --share 0.1

torture: build runtime python ## every fault, every damage: ARGS="--only kill,damage --seed 7" (see tests/torture/README.md)
	@$(TORTURE) $(ARGS)

ray: ## Ray for `make cluster` and `make chaos`
	@sh dispatch/install.sh $(RAY)

cluster: build runtime ray ## ingest, features and score on two local raylets: CORPORA= STORE= ARGS="--set score.model=FILE" (see docs/cluster.md)
	@PYTHONPATH=$(RAY) python3 dispatch/local.py --sermill $(SERMILL) --pipeline $(PIPELINE) --corpora $(CORPORA) \
	  --store $(or $(STORE),store/$(basename $(notdir $(PIPELINE)))) $(ARGS); code=$$?; [ $$code -eq 1 ] && exit 0; exit $$code

chaos: build runtime ray ## raylets, head, driver, shards and committer of a local cluster killed at proven moments: ARGS="--only raylet --rounds 2"
	@PYTHONPATH=$(RAY) python3 tests/cluster/chaos.py --sermill $(SERMILL) $(ARGS)

arrays: build runtime ray ## the examples of job arrays, their commands run here; slurm.sh for real where there is a Slurm
	@PYTHONPATH=$(RAY) python3 tests/cluster/arrays.py --sermill $(SERMILL) $(ARGS)

scorecard: build runtime ## one recipe on CORPORA under protocols from unseen speakers to the paper's: STORE= ARGS="--set ..."
	@$(SERMILL) scorecard --pipeline pipelines/speaker-independent.toml --protocol speaker-independent --protocol cross-corpus \
	  --protocol text-disjoint --protocol source-disjoint --protocol paper \
	  --corpora $(CORPORA) --store $(or $(STORE),store/scorecard) $(ARGS)

baselines: build runtime ## logistic regression, CNN alone and BiLSTM alone beside PIPELINE's network: CORPORA= STORE= ARGS="--set ..."
	@sh docs/results/baselines/baselines.sh $(SERMILL) $(CORPORA) $(or $(STORE),store/baselines) $(PIPELINE) $(ARGS)

unseen: build runtime ## speaker-independent on speakers and corpora it was not made on, one JSON line a measure: CORPORA= STORE= SEEDS=1,2,3
	@sh docs/results/unseen/unseen.sh $(SERMILL) $(CORPORA) $(or $(STORE),store/unseen) $(SEEDS)

check: fmt clippy test doc ## what must be green before a commit

fmt:
	cargo fmt --check

clippy:
	cargo clippy --release --locked --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --no-deps

fuzz: ## damaged bytes to all that reads bytes from outside: ARGS="decoder 1000000 7"
	@$(FUZZ) $(ARGS)

# Keras may fail to install: the benchmark then says so and gives no figure for it.
bench-train: ## a training step beside PyTorch and Keras, recorded in docs/benchmarks/
	@$(if $(PEERS_PYTHON),,sh tests/peers/install.sh $(PEERS) pytorch && { sh tests/peers/install.sh $(PEERS) keras || true; })
	@$(BENCH) train

bench-score: runtime ## inference beside ONNX Runtime, recorded in docs/benchmarks/
	@$(if $(PEERS_PYTHON),,sh tests/peers/install.sh $(PEERS) onnxruntime || true)
	@$(BENCH) score

bench-features: build ## the features stage beside librosa, torchaudio and numpy on CORPORA's recordings, recorded likewise
	@$(if $(PEERS_PYTHON),,sh tests/peers/install.sh $(PEERS) features)
	@python3 tests/peers/bench_features.py --sermill $(SERMILL) --corpora $(CORPORA) $(ARGS) \
	  $(if $(PEERS_PYTHON),--python $(PEERS_PYTHON),--peers $(PEERS))

agreement: ## stored spectrograms of real recordings against librosa: CORPORA= STORE= (features of a front end that skips an offset, such as paper.toml)
	@$(if $(PEERS_PYTHON),,sh tests/peers/install.sh $(PEERS) librosa)
	@$(if $(PEERS_PYTHON),,PYTHONPATH=$(PEERS)/librosa) $(or $(PEERS_PYTHON),python3) -W ignore tests/peers/agreement.py \
	  --corpora $(CORPORA) --store $(or $(STORE),store/paper) $(ARGS)

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

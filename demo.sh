#!/bin/sh
# The demo: a synthetic corpus through all five stages of pipelines/demo.toml, and where everything lies then.
#   demo.sh path/to/sermill
set -eu
sermill=$1
corpora=store/demo-corpora
store=store/demo

[ -d "$corpora/synthetic" ] || "$sermill" synth "$corpora/synthetic" --speakers 8 --statements 4 --repetitions 3
"$sermill" run --pipeline pipelines/demo.toml --corpora "$corpora" --store "$store"

cat <<EOF

The demo is done. What lies where:
  tables    $store/tables/<name>/v*/*.parquet   (query them with DuckDB, Polars or pandas: see README.md)
  model     $(ls "$store"/models/*/model.onnx)
  report    $(ls "$store"/reports/*/report.md)
  pictures  $(ls -d "$store"/reports/*)/*.svg
Run it again: nothing is stale, so nothing is done. Change pipelines/demo.toml, and only what follows from it is.
EOF

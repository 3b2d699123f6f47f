#!/bin/sh
# The systems of the paper's Table 3 and a logistic regression, through the same stages and tables as any recipe: each in a store below
# STORE. What was done stands. `sermill compare` then says how each differs from the recipe itself; the majority class stands beside
# every number anyway.
#
#   sh docs/results/baselines/baselines.sh SERMILL CORPORA STORE PIPELINE [more arguments of `sermill run`]
set -eu
sermill=$1 corpora=$2 store=$3 recipe=$4
shift 4

system() {
    name=$1
    shift
    code=0
    "$sermill" run --pipeline "$recipe" --corpora "$corpora" --store "$store/$name" --set "pipeline.name=$name" "$@" || code=$?
    if [ "$code" -gt 1 ]; then return "$code"; fi
}

network="--set train.network.trunk=windows --set train.network.maps=[] --set train.network.pools=[]"
system recipe "$@"
# Each band's mean and deviation over the frames, one linear layer.
# shellcheck disable=SC2086 # The settings are words.
system logistic-regression $network --set train.network.window=1 --set train.network.hop=1 --set train.network.recurrent=none \
    --set train.network.head=mean-deviation --set train.network.dropout=0.0 "$@"
system cnn-alone --set train.network.recurrent=none --set train.network.head=mean "$@"
# Each step is eight frames side by side.
# shellcheck disable=SC2086
system bilstm-alone $network --set train.network.window=8 --set train.network.hop=8 --set train.network.recurrent=bilstm "$@"
for name in logistic-regression cnn-alone bilstm-alone; do
    "$sermill" compare "$store/$name" "$store/recipe"
done

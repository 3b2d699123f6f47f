#!/bin/sh
# Measures of pipelines/speaker-independent.toml on speakers and corpora that it was not made on: one JSON line each, in RESULTS.
# What was done stands: run it again to go on. A corpus that is not there is said and passed over.
#
#   sh docs/results/unseen/unseen.sh SERMILL CORPORA STORE [SEEDS]
#
# CORPORA holds ravdess/ tess/ savee/ emodb/ urdu/ as they are handed out (Urdu: Angry/ Happy/ Neutral/ Sad/ with SM1_F1_A01.wav).
set -eu
sermill=$1 corpora=$2 store=$3 seeds=${4:-1,2,3}
recipe=$(dirname "$0")/../../../pipelines/speaker-independent.toml
results=$store/unseen.jsonl
mkdir -p "$store"

corpus() { printf '{kind="%s",name="%s",root="%s"}' "$1" "$1" "$1"; }
urdu='{kind="labelled",name="urdu",root="urdu",pattern="{emotion}/{speaker}_*.wav"}'
all="$(corpus ravdess),$(corpus tess),$(corpus savee)"

# measure NAME "corpora it needs" "what it shows" settings...
measure() {
    name=$1 needs=$2 why=$3
    shift 3
    for corpus in $needs; do
        if [ ! -d "$corpora/$corpus" ]; then
            echo "unseen: $name: there is no $corpora/$corpus" >&2
            return 0
        fi
    done
    if [ -f "$results" ] && grep -q "\"trial\":\"$name\"" "$results"; then return 0; fi
    code=0
    "$sermill" trial "$name" --why "$why" --seeds "$seeds" --pipeline "$recipe" --corpora "$corpora" --store "$store" "$@" \
        >"$store/$name.out" || code=$?
    if [ "$code" -gt 1 ]; then
        echo "unseen: $name: code $code" >&2
        return "$code"
    fi
    tail -n 1 "$store/$name.out" | tee -a "$results"
}

# RAVDESS, eight classes. The recipe was chosen on actors 1 to 16: the second measure is the clean one.
for labels in ravdess-8 seven; do
    measure "ravdess-six-folds-$labels" "ravdess" "EmoBox' six folds" \
        --set "ingest.corpus=[$(corpus ravdess)]" --set "labels={set=\"$labels\"}" --set 'split.folds={any="emobox-ravdess"}'
    measure "ravdess-17-to-24-$labels" "ravdess" "train on actors 1 to 16, test on 17 to 24" \
        --set "ingest.corpus=[$(corpus ravdess)]" --set "labels={set=\"$labels\"}" \
        --set 'split.folds={any=[["ravdess-17","ravdess-18","ravdess-19","ravdess-20","ravdess-21","ravdess-22","ravdess-23","ravdess-24"]]}'
done
measure savee-leave-one-out savee "SAVEE, one man out" \
    --set "ingest.corpus=[$(corpus savee)]" --set 'split.folds={any="leave-one-out"}'
measure tess-both-ways tess "one actress against the other, both ways" \
    --set "ingest.corpus=[$(corpus tess)]" --set 'split.folds={any="leave-one-out"}'
measure one-corpus-out "ravdess tess savee" "two corpora against the third" \
    --set "ingest.corpus=[$all]" --set 'split.protocol="cross-corpus"' --set 'split.folds={}'
measure four-classes-emodb "ravdess tess emodb" "RAVDESS and TESS against EMO-DB, four classes" \
    --set "ingest.corpus=[$(corpus ravdess),$(corpus tess),$(corpus emodb)]" --set 'labels={set="four"}' \
    --set 'split.protocol="cross-corpus"' --set 'split.folds={any=[["emodb"]]}'
measure four-classes-urdu "ravdess tess urdu" "RAVDESS and TESS against Urdu, four classes" \
    --set "ingest.corpus=[$(corpus ravdess),$(corpus tess),$urdu]" --set 'labels={set="four"}' \
    --set 'split.protocol="cross-corpus"' --set 'split.folds={any=[["urdu"]]}'

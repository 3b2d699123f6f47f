#!/bin/sh
# Runs one stage of sermill as a Slurm job array: planned here, shards in the array, committed here once it has ended.
#
#   [SERMILL=FILE] [TASKS=64] [SBATCH_PARTITION=..] slurm.sh STAGE --pipeline P --store S --corpora C [what `sermill plan` takes]
#
# Store, corpora, program and the current folder have one path on all machines. The same command goes on after any loss. Exit codes
# are sermill's: 0 and 1 done, 2 never retry, anything else run it again. What sbatch is told otherwise: SBATCH_* (see its manual).
#SBATCH --job-name=sermill
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=2G
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-sermill-%A_%a.out
set -eu
sermill=${SERMILL:-sermill}

# One task of the array: shards I, I+N, I+2N... What the machine failed at is tried again, what is wrong is not.
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    for _ in 1 2 3 4 5 6; do
        code=0
        "$sermill" shard --plan "$1" --index "$SLURM_ARRAY_TASK_ID" --of "$SLURM_ARRAY_TASK_COUNT" --threads 1 --quiet || code=$?
        case $code in
            0 | 1) exit 0 ;;
            2) exit 2 ;;
        esac
        sleep 5
    done
    exit "$code"
fi

code=0
planned=$("$sermill" plan "$@") || code=$?
[ "$code" -le 1 ] || exit "$code"
printf '%s\n' "$planned"
field() { printf '%s\n' "$planned" | tail -n 1 | python3 -c "import json, sys; print(json.load(sys.stdin)['$1'] or '')"; }
plan=$(field plan)
[ -n "$plan" ] || exit "$code"
shards=$(field shards)
tasks=${TASKS:-64}
[ "$tasks" -le "$shards" ] || tasks=$shards
# Tasks that failed for good are no matter here: the commit says what is missing.
[ "$shards" -eq 0 ] || sbatch --wait --export=ALL,SERMILL="$sermill" --array=0-$((tasks - 1)) "$0" "$plan" >&2 || true
exec "$sermill" commit --plan "$plan"

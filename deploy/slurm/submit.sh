#!/bin/bash
# Submits an experiment: an array job of shards, and the job that merges them when all are finished.
# Copy this file beside your data, change the lines below, and run it on the login node.
set -euo pipefail

CMI_NATIVE=${CMI_NATIVE:-$PWD/bin/cmi-native}   # on the common file system, as all that follows
SHARDS=${SHARDS:-8}                             # tasks of the array, one GPU (or a few cores) each
WORK=${WORK:-$PWD/shards}                       # the folder that they share
TABLE=${TABLE:-$PWD/table1}                     # the result
# What each task gets. For processors: TASK="--cpus-per-task=8 --mem=16G --time=24:00:00" and --device cpu below.
TASK=${TASK:---gres=gpu:1 --cpus-per-task=4 --mem=32G --time=12:00:00}
MERGE=${MERGE:---cpus-per-task=4 --mem=16G --time=4:00:00}
GRACE=${GRACE:-120}                             # seconds before the time limit at which a task saves its state and is queued again
# The experiment: flags of cmi-native eval, without --shard and --out. They can be given to this script, too.
if [ $# = 0 ]; then
  set -- --preset paper-ffhq --prior "$PWD/ffhq_10m.pt" --images "$PWD/ffhq256" --device cuda
fi

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$WORK/logs"
export CMI_NATIVE WORK TABLE
# shellcheck disable=SC2086 # TASK and MERGE are lists of options
array=$(sbatch --parsable --export=ALL --job-name=cmi-shard --array="1-$SHARDS" --requeue --open-mode=append \
  --signal="B:USR1@$GRACE" --output="$WORK/logs/shard-%a.log" $TASK "$here/shard.sbatch" "$@")
# shellcheck disable=SC2086
merge=$(sbatch --parsable --export=ALL --job-name=cmi-merge --dependency="afterok:$array" --kill-on-invalid-dep=yes --open-mode=append \
  --output="$WORK/logs/merge.log" $MERGE "$here/merge.sbatch")
echo "shards: job $array, $SHARDS tasks; merge: job $merge, into $TABLE"
echo "how far they are: $CMI_NATIVE eval --status --out $WORK; logs: $WORK/logs"

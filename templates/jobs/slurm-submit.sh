#!/usr/bin/env bash
# Submits the arrays of this folder and the report after them. Words are handed to sbatch: submit.sh --partition=gpu --time=2:00:00
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."

results=mmtrt-results/$(date +%Y%m%d-%H%M%S)-$$
mkdir -p "$results"

after=afterany
for script in "$here"/build-*.sbatch; do
  job=$(sbatch --parsable --output="$results/%x-%a.log" "$@" "$script" "$results")
  # A federation of clusters writes ID;CLUSTER.
  after=$after:${job%%;*}
done
report=$(sbatch --parsable --output="$results/report.log" --dependency="$after" "$@" "$here/report.sbatch" "$results")
echo "$results: report in job ${report%%;*} after ${after#afterany:}"

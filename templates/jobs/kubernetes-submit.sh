#!/usr/bin/env bash
# Runs the jobs of this folder, then the report. Words are handed to kubectl: submit.sh --namespace engines
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
run=$(date +%Y%m%d-%H%M%S)
words=("$@")

# A job that fails does not become complete: both are looked for in turn.
ended() {
  until kubectl wait "${words[@]}" --for=condition=complete --timeout=20s "$1" 2> /dev/null ||
    kubectl wait "${words[@]}" --for=condition=failed --timeout=1s "$1" 2> /dev/null; do :; done
}

# Names of its own for each run: a job cannot be changed once it is there.
start() {
  sed "s/run-id/$run/g" "$here/$1" | kubectl create "${words[@]}" --output=name --filename=-
}

build=$(start build.yaml)
for job in $build; do ended "$job"; done
report=$(start report.yaml)
ended "$report"
kubectl logs "${words[@]}" "$report"
echo "mmtrt-results/$run on the claim mmtrt"

#!/bin/bash
# Checks verify/rotation.pml with spin: every state of two nodes, as many states of three as the time allows, and that each
# fault that is seeded on purpose is found. "--bounded": the form of `make test`, under a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
model=$PWD/verify/rotation.pml
work=$PWD/build/verify
mkdir -p "$work"
if [ "${1:-}" = --bounded ]; then rounds=2 crashes=1 three_seconds=15; else rounds=2 crashes=2 three_seconds=600; fi

# name, compiler flags, flags of the verifier, flags of the model: builds and runs in a folder of its own, prints the errors found.
check() {
  local folder=$work/$1 compiler=$2 run=$3
  shift 3
  rm -rf "$folder" && mkdir -p "$folder" && cd "$folder"
  spin -a "$@" "$model" >spin.log
  # shellcheck disable=SC2086
  gcc -w -O2 -DMEMLIM=3000 $compiler -o pan pan.c
  # shellcheck disable=SC2086
  ./pan -m3000000 $run >pan.log 2>&1 || true
  grep -q 'max search depth too small\|reached -DMEMLIM' pan.log && { echo "verify: the search was cut short, see $folder/pan.log" >&2; exit 1; }
  sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.log
}

expect() { # name, expected errors, found errors
  local states
  states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' "$work/$1/pan.log")
  if [ "$2" != "$3" ]; then
    echo "verify: $1: $3 errors, not $2; the trail is in $work/$1" >&2
    exit 1
  fi
  echo "verify: $1: $3 errors in $states states"
}

two="-DN=2 -DROUNDS=$rounds"
# shellcheck disable=SC2086
expect two-nodes 0 "$(check two-nodes '-DSAFETY -DCOLLAPSE' '-w24' $two -DCRASHES=$crashes)"
expect two-nodes-end 0 "$(check two-nodes-end '-DNP' '-l -w24' -DN=2 -DROUNDS=1 -DCRASHES=0)"
# Three nodes have more states than memory: a search over hashes, cut after a time. It can miss a state, and says how many it saw.
expect three-nodes 0 "$(check three-nodes "-DSAFETY -DBITSTATE" "-w28 -k3 -Q$three_seconds" -DN=3 -DROUNDS=1 -DCRASHES=0)"
for fault in NO_WAIT NO_DRAIN NO_TURN STALE_LIST NO_AGE; do
  # shellcheck disable=SC2086
  expect "fault-$fault" 1 "$(check "fault-$fault" '-DSAFETY -DCOLLAPSE' '-w24' $two -DCRASHES=1 "-DFAULT_$fault")"
done

#!/bin/bash
# Runs the named parts, all of them whatever happens, and ends with a table and one line "N passed, N failed, N skipped". A
# check counts as one test. First, side by side in as many lanes as there are cores, the parts that need nothing but a
# processor and measure no time; then so those that mostly wait for what they began. What they print is shown one part after
# the other. Then the others one by one, each with the machine to itself. Results of vitest stay in build/results, and what
# each part printed that had others beside it.
set -u
cd "$(dirname "$0")/.." || exit 1
results=build/results
claims=$results/claims
rm -rf "$claims" "$results/parts.tsv"
mkdir -p "$claims"
status=0

# Those that may run side by side, the longest first, so that the lanes end together: what takes a processor, and what waits.
WORKING='unit unit-1 unit-2 bench verify lint asan-build types format imports'
WAITING='e2e kernel seal asan'

vitest_part() { # part, project [more arguments]
  vitest run --project "$2" --reporter=default --reporter=json --outputFile.json="$results/$1.json" "${@:3}"
}

part() {
  case $1 in
    types) tsc --noEmit ;;
    lint) eslint . --max-warnings 0 ;;
    format) prettier --check --log-level warn . ;;
    imports) depcruise --config .dependency-cruiser.cjs src ;;
    unit | bench | kernel | seal | e2e) vitest_part "$1" "$1" ;;
    unit-[12]) vitest_part "$1" unit --shard="${1#unit-}/2" ;;
    vm) VM_REPORT="$results/vm.json" node test/vm/run.ts ;;
    asan-build) make -C native asan ;;
    # Listeners share ports with other processes (SO_REUSEPORT), and the kernel tests open the same ones beside it.
    asan) unshare --net sh -c 'ip link set lo up && exec make -C native asan-test' ;;
    verify) tools/verify.sh bounded ;;
    *) echo "test: there is no part $1" >&2; return 2 ;;
  esac
}

# Leaves the part's line of the table in $claims/NAME/row, whole or not at all.
measure() {
  local name=$1 began before=$SECONDS outcome=failed
  began=$(date +%s)
  rm -f "$results/$name.json"
  if part "$name"; then outcome=passed; fi
  printf '%s\t%s\t%s\t%s\n' "$name" "$outcome" $((SECONDS - before)) "$began" >"$claims/$name/row.new"
  mv "$claims/$name/row.new" "$claims/$name/row"
}

# Takes the next part that no other lane has, until there is none.
lane() {
  local name
  for name in "$@"; do
    mkdir "$claims/$name" 2>/dev/null || continue
    measure "$name" >"$results/$name.log" 2>&1 </dev/null
  done
}

named() { case " ${*:2} " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

abreast() { # a kind, the parts that are wanted
  local kind=$1 name i chosen=() lanes=()
  shift
  for name in $kind; do if named "$name" "$@"; then chosen+=("$name"); fi; done
  if [ ${#chosen[@]} -eq 0 ]; then return; fi
  # Each lane is a process group, so that it ends with all that it started.
  set -m
  for ((i = 0; i < $(nproc) && i < ${#chosen[@]}; i++)); do lane "${chosen[@]}" & lanes+=($!); done
  set +m
  trap 'kill -- "${lanes[@]/#/-}" 2>/dev/null; exit 130' INT TERM
  for name in "$@"; do
    named "$name" "${chosen[@]}" || continue
    while [ ! -e "$claims/$name/row" ] && kill -0 "${lanes[@]}" 2>/dev/null; do sleep 0.2; done
    echo "== $name"
    cat "$results/$name.log"
  done
  wait
  trap - INT TERM
}

abreast "$WORKING" "$@"
abreast "$WAITING" "$@"
for name in "$@"; do
  if named "$name" "$WORKING" "$WAITING"; then continue; fi
  echo "== $name"
  mkdir -p "$claims/$name"
  measure "$name"
done

# A part without a row is one whose lane died.
for name in "$@"; do
  row=$(cat "$claims/$name/row" 2>/dev/null || printf '%s\tfailed\t0' "$name")
  case $row in *$'\t'passed$'\t'*) ;; *) status=1 ;; esac
  printf '%s\n' "$row" >>"$results/parts.tsv"
done
node tools/summary.ts || status=1
exit "$status"

#!/bin/bash
# Runs the named parts one after the other, all of them whatever happens, and ends with a table and one line
# "N passed, N failed, N skipped". A check counts as one test. Results of vitest stay in build/results.
set -u
cd "$(dirname "$0")/.." || exit 1
results=build/results
mkdir -p "$results"
rm -f "$results/parts.tsv"
status=0

vitest_part() { # project [more arguments]
  vitest run --project "$1" --reporter=default --reporter=json --outputFile.json="$results/$1.json" "${@:2}"
}

part() {
  case $1 in
    types) tsc --noEmit ;;
    lint) eslint . --max-warnings 0 ;;
    format) prettier --check --log-level warn . ;;
    imports) depcruise --config .dependency-cruiser.cjs src ;;
    unit | kernel | e2e) vitest_part "$1" ;;
    vm) VM_REPORT="$results/vm.json" node test/vm/run.ts ;;
    asan) make -C native asan-test ;;
    verify) tools/verify.sh bounded ;;
    *) echo "test: there is no part $1" >&2; return 2 ;;
  esac
}

for name in "$@"; do
  rm -f "$results/$name.json"
  echo "== $name"
  before=$SECONDS
  if part "$name"; then outcome=passed; else outcome=failed; status=1; fi
  printf '%s\t%s\t%s\n' "$name" "$outcome" $((SECONDS - before)) >>"$results/parts.tsv"
done

node tools/summary.ts || status=1
exit "$status"

#!/bin/bash
# Checks verify/rotation.pml with spin: that the model holds, and that each fault that is seeded on purpose is found.
# "bounded" (the form of `make test`, under a minute) or "full" (`make verify`, some minutes). verify/README.md explains the rows.
# Prints a table and writes build/results/verify.json, an array of {step, ok}. Exit status 0 only when every row is as expected;
# a search that does not finish is not. Limits are of CPU time, so that a busy machine is no failure.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
form=${1:-full}
[ "$form" = bounded ] || [ "$form" = full ] || { echo "verify: bounded or full, not $form" >&2; exit 2; }
command -v spin >/dev/null || { echo "verify: spin is missing: make setup" >&2; exit 1; }
model=$PWD/verify/rotation.pml
work=$PWD/build/verify
report=$PWD/build/results/verify.json
rm -rf "$work"
mkdir -p "$work" "$(dirname "$report")"
rows=()
status=0
printf '%-28s %-10s %11s %8s %7s  %s\n' model property states depth seconds result

field() { sed -n "$1" "$2" | head -n 1; }

# name, property (safety: asserts and no end too early; ends: also no endless run; sample: safety by bitstate hashing), what is
# expected (holds, fails), CPU seconds allowed, optimisation of gcc, flags of the model
check() {
  local name=$1 property=$2 expected=$3 allowed=$4 optimise=$5
  shift 5
  local folder=$work/$name compile=(-DSAFETY -DCOLLAPSE) search=(-w24) exact=1
  case $property in
    ends) compile=(-DNP -DCOLLAPSE) search=(-l -w24) ;;
    sample) compile=(-DSAFETY -DBITSTATE) search=(-w30 -k3) exact=0 ;;
  esac
  mkdir -p "$folder"
  local began=$SECONDS code=0 log=$folder/pan.log
  (cd "$folder" && spin -a "$@" "$model" && gcc -w "-$optimise" -DMEMLIM=2000 "${compile[@]}" -o pan pan.c) >"$folder/build.log" 2>&1 || code=1
  if [ "$code" = 0 ]; then
    (cd "$folder" && ulimit -t "$allowed" && timeout $((allowed * 20)) ./pan -m2000000 "${search[@]}") >"$log" 2>&1 || code=$?
  fi
  touch "$log"
  local states depth errors result
  states=$(field 's/^ *\([0-9]*\) states, stored.*/\1/p' "$log")
  depth=$(field 's/.*depth reached \([0-9]*\).*/\1/p' "$log")
  errors=$(field 's/.*errors: \([0-9]*\).*/\1/p' "$log")
  if [ ! -x "$folder/pan" ]; then
    result='not built'
  elif [ "$code" != 0 ] || [ -z "$errors" ] || grep -q 'max search depth too small\|memory limit\|out of memory' "$log"; then
    result='not finished'
  elif [ "$errors" = 0 ]; then
    result=holds
  else
    result=fails
  fi
  local ok=false
  if [ "$result" = "$expected" ]; then ok=true; else status=1; fi
  local note=$result
  [ "$expected" = fails ] && [ "$result" = fails ] && note='found'
  [ "$exact" = 0 ] && note="$note (sample)"
  [ "$ok" = false ] && note="$note, WRONG: see $folder"
  printf '%-28s %-10s %11s %8s %7s  %s\n' "$name" "$property" "${states:--}" "${depth:--}" $((SECONDS - began)) "$note"
  rows+=("{\"step\":\"$name\",\"ok\":$ok}")
  rm -f "$folder/pan.c" "$folder/pan."[bmpt]
}

one=(-DROUNDS=1 -DONE_MAIL)
check two-nodes safety holds 60 O2 -DN=2 "${one[@]}" -DCRASHES=0
check two-nodes-end ends holds 60 O2 -DN=2 "${one[@]}" -DCRASHES=1 -DWHIMS=0
check two-nodes-cut safety holds 60 O1 -DN=2 -DROUNDS=2 -DROTATORS=1 -DCRASHES=0 -DCUTS=1
check three-nodes-one-rotates safety holds 60 O2 -DN=3 "${one[@]}" -DROTATORS=1 -DCRASHES=0
if [ "$form" = full ]; then
  check two-nodes-crash safety holds 600 O2 -DN=2 "${one[@]}" -DCRASHES=1
  check two-nodes-mails safety holds 600 O2 -DN=2 -DROUNDS=1 -DCRASHES=1
  check two-nodes-twice safety holds 600 O2 -DN=2 -DROUNDS=2 -DONE_MAIL -DCRASHES=0
  check three-nodes-end ends holds 600 O2 -DN=3 "${one[@]}" -DROTATORS=1 -DCRASHES=0 -DWHIMS=0
  check three-nodes sample holds 900 O2 -DN=3 "${one[@]}" -DCRASHES=0 -DWHIMS=0
fi

# Seeded faults. Compiling takes longer than finding them.
seed() { # fault, flags of the model
  local fault=$1
  shift
  check "fault-$fault" safety fails 60 O0 -DN=2 -DONE_MAIL "-DFAULT_$fault" "$@"
}
seed NO_DRAIN -DROUNDS=1 -DCRASHES=0
seed NO_ACK -DROUNDS=1 -DCRASHES=0
seed NO_ORDER -DROUNDS=1 -DCRASHES=0
seed OPEN_SLOT -DROUNDS=1 -DCRASHES=0
seed YOUNGER -DROUNDS=1 -DCRASHES=0
seed NO_AGE -DROUNDS=1 -DCRASHES=0
seed REMOVE_FIRST -DROUNDS=1 -DCRASHES=0
seed NO_WAIT -DROUNDS=2 -DCRASHES=0
seed NO_ADOPTION -DROUNDS=1 -DCRASHES=1 -DWHIMS=0
seed STALE_LIST -DROUNDS=1 -DCRASHES=1
if [ "$form" = full ]; then seed DEAF -DROUNDS=1 -DCRASHES=1; fi
# A limit, not a seed: see README.md.
check limit-cut-both-rotate safety fails 60 O0 -DN=2 "${one[@]}" -DCRASHES=0 -DCUTS=1

(IFS=,; printf '[%s]\n' "${rows[*]}") >"$report"
exit "$status"

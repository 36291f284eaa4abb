#!/bin/bash
# Checks verify/rotation.pml with spin: that the model holds, and that each fault that is seeded on purpose is found.
# "bounded" (the form of `make test`, under a minute of CPU time) or "full" (`make verify`, some minutes). verify/README.md explains the rows.
# Prints a table and writes build/results/verify.json, an array of {step, ok}. Exit status 0 only when every row is as expected;
# a search that does not finish is not, unless it is a sample and found nothing by its limit. Seconds and limits are of CPU
# time, so that a busy machine is no failure.
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
printf '%-24s %-8s %11s %7s %8s  %s\n' model property states depth 'CPU s' result

field() { sed -n "$1" "$2" | head -n 1; }

total=0
# Adds up hundredths of a second: bash has no fractions.
spend() { total=$((total + 10#${1/./})); }
TIMEFORMAT=%2U

# What a row needs is compiled once, whatever it is run with: name, flags of spin, of gcc.
build() {
  local name=$1 model_flags=$2 compile=$3
  local folder=$work/$name took
  mkdir -p "$folder"
  # shellcheck disable=SC2086 # lists of flags
  took=$({ time {
    (cd "$folder" && spin -a $model_flags "$model" && gcc -w -I"$(dirname "$model")" -DMEMLIM=4000 $compile -o pan pan.c) >"$folder/build.log" 2>&1 || true
  }; } 2>&1)
  spend "$took"
  printf '%-24s %-8s %11s %7s %8s\n' "build $name" - - - "$took"
}

# build, name, property (safety: asserts and no end too early; ends: also no endless run; sample: safety by bitstate hashing),
# what is expected (holds, fails), CPU seconds allowed, parameters of the model
check() {
  local build=$1 name=$2 property=$3 expected=$4 allowed=$5 search=(-w24)
  shift 5
  case $property in
    ends) search=(-l -w24) ;;
    sample) search=(-w30 -k3) ;;
  esac
  local folder=$work/$name code=0 log=$work/$name/pan.log took=0
  mkdir -p "$folder"
  if [ -x "$work/$build/pan" ]; then
    took=$({ time {
      (cd "$folder" && ulimit -t "$allowed" && env "$@" timeout $((allowed * 20 + 600)) "../$build/pan" -m2000000 "${search[@]}" &&
        touch finished) >"$log" 2>&1 || true
    }; } 2>&1)
    spend "$took"
    [ -e "$folder/finished" ] || code=1
  fi
  touch "$log"
  local states depth errors result
  states=$(field 's/^ *\([0-9]*\) states, stored.*/\1/p' "$log")
  depth=$(field 's/.*depth reached \([0-9]*\).*/\1/p' "$log")
  errors=$(field 's/.*errors: \([0-9]*\).*/\1/p' "$log")
  if [ ! -x "$work/$build/pan" ]; then
    result='not built'
  elif [ "$code" != 0 ] || [ -z "$errors" ] || grep -q 'max search depth too small\|memory limit\|out of memory' "$log"; then
    result='not finished'
  elif [ "$errors" = 0 ]; then
    result=holds
  else
    result=fails
  fi
  local unfinished=''
  # A sample is one, however far it came: what it has looked at by its limit is told, and that it is not all.
  if [ "$property" = sample ] && [ "$result" = 'not finished' ] && [ -s "$log" ] && ! grep -q '^pan:1:' "$log"; then
    states=$(sed -n 's/.*States= *\([^ ]*\).*/\1/p' "$log" | tail -n 1)
    [ -n "$states" ] && result=holds unfinished=', not finished'
  fi
  local ok=false
  if [ "$result" = "$expected" ]; then ok=true; else status=1; fi
  local note=$result
  [ "$expected" = fails ] && [ "$result" = fails ] && note='found'
  [ "$property" = sample ] && note="$note (sample$unfinished)"
  [ "$ok" = false ] && note="$note, WRONG: see $folder"
  printf '%-24s %-8s %11s %7s %8s  %s\n' "$name" "$property" "${states:--}" "${depth:--}" "$took" "$note"
  rows+=("{\"step\":\"$name\",\"ok\":$ok}")
}

# Compiling at -O2 takes longer than the searches of the bounded form.
if [ "$form" = full ]; then level=-O2; else level=-O1; fi
build two '-DN=2 -DPROJECT' "-DSAFETY -DCOLLAPSE $level"
if [ "$form" = full ]; then live=-O2; else live=-O0; fi
build two-live '-DN=2 -DENDS' "-DNP -DCOLLAPSE $live"
build star '-DN=3 -DSTAR -DPROJECT' '-DSTAR -DSAFETY -DCOLLAPSE -O0'

check two two-nodes safety holds 60 ONE_MAIL=1
check two two-nodes-crash safety holds 120 ONE_MAIL=1 CRASHES=1
check two-live two-nodes-end ends holds 60 ONE_MAIL=1 CRASHES=1 WHIMS=0
check two two-nodes-cut safety holds 60 ROUNDS=2 ROTATORS=1 CUTS=1
check two two-nodes-two-mails safety holds 60 ONE_MAIL=1 MAILS=2
# Each pair of three nodes, of which one rotates, is looked for among the states of two.
one_rotates=(ONE_MAIL=1 ROTATORS=1 PAIRS=../one-rotates.bin PLACES=21)
one_dies=(ONE_MAIL=1 ROTATORS=1 CRASHES=1 WHIMS=0 PAIRS=../one-dies.bin PLACES=21)
check two pair-one-rotates safety holds 60 "${one_rotates[@]}"
check star three-nodes-one-rotates safety holds 60 "${one_rotates[@]}"
check two pair-one-dies safety holds 60 "${one_dies[@]}"
check star three-nodes-one-dies safety holds 60 "${one_dies[@]}"
# Pairs that are not each by itself: only this look finds it, for no packet is lost by it.
check star fault-COUPLED safety fails 60 "${one_rotates[@]}" FAULT=COUPLED
if [ "$form" = full ]; then check star coupled-unseen safety holds 60 ONE_MAIL=1 ROTATORS=1 FAULT=COUPLED; fi
if [ "$form" = full ]; then
  # With these, and what README.md says, any number of nodes is searched to the end.
  check two two-nodes-any safety holds 600 CRASHES=any
  check two two-nodes-twice safety holds 600 CRASHES=any ONE_MAIL=1 ROUNDS=2
  check two-live two-nodes-any-end ends holds 600 CRASHES=any ONE_MAIL=1
  check two-live two-nodes-twice-end ends holds 600 CRASHES=1 WHIMS=0 ONE_MAIL=1 ROUNDS=2
  # Three nodes themselves: one rotates, searched to the end; all rotate, as far as a sample goes, each pair compared with two nodes.
  build star-live '-DN=3 -DSTAR -DENDS' '-DNP -DCOLLAPSE -O2'
  check star-live three-nodes-end ends holds 600 ONE_MAIL=1 ROTATORS=1 WHIMS=0
  check two pair-of-three safety holds 600 CRASHES=any ONE_MAIL=1 PAIRS=../pairs.bin
  build three '-DN=3 -DPROJECT' '-DSAFETY -DBITSTATE -O2'
  check three three-nodes sample holds 120 CRASHES=any ONE_MAIL=1 PAIRS=../pairs.bin
  check three three-nodes-calm sample holds 120 WHIMS=0 ONE_MAIL=1 PAIRS=../pairs.bin
fi

seed() { # fault, parameters of the model
  local fault=$1
  shift
  check two "fault-$fault" safety fails 60 "FAULT=$fault" ONE_MAIL=1 "$@"
}
seed NO_DRAIN
seed NO_ACK
seed NO_ORDER
seed OPEN_SLOT
seed YOUNGER
seed NO_AGE
seed REMOVE_FIRST
seed NO_WAIT ROUNDS=2
seed NO_ADOPTION CRASHES=1 WHIMS=0
seed STALE_LIST CRASHES=1
seed OTHER_ORDER
seed MUTE
if [ "$form" = full ]; then
  seed DEAF CRASHES=1
  seed OUT_OF_ORDER MAILS=2
fi
# A limit, not a seed: see README.md.
check two limit-cut-both-rotate safety fails 60 ONE_MAIL=1 CUTS=1

printf '%-24s %-8s %11s %7s %8s\n' total - - - "$((total / 100)).$(printf %02d $((total % 100)))"
(IFS=,; printf '[%s]\n' "${rows[*]}") >"$report"
exit "$status"

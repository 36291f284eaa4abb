#!/bin/sh
# Installs the packages of the given groups (tools/apt-packages.txt) that are missing. Node comes from here only
# where there is none: node_modules brings the version that is used.
set -eu
cd "$(dirname "$0")/.."

wanted=
for group in "$@"; do
  wanted="$wanted $(awk -v group="$group" '!/^#/ && $2 == group { print $1 }' tools/apt-packages.txt)"
done
case " $* " in
  *" build "*)
    if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
      wanted="$wanted nodejs npm"
    fi
    ;;
esac

if ! command -v dpkg-query >/dev/null 2>&1; then
  echo "setup: no dpkg here; make sure of:$(echo "$wanted" | tr '\n' ' ')" >&2
  exit 0
fi

missing=
for package in $wanted; do
  dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "setup: root is needed to install:$missing" >&2
  exit 1
fi

# The lab starts its name servers itself; as services of the machine they would take port 53.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' INT TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

mkdir -p build
export DEBIAN_FRONTEND=noninteractive
install() {
  # shellcheck disable=SC2086 # a list of words
  apt-get install -y -qq --no-install-recommends $missing
}

echo "setup: installing$missing"
# With lists that are absent or old the first try fails at once.
install >build/apt.log 2>&1 || {
  apt-get update -qq >>build/apt.log 2>&1
  install >>build/apt.log 2>&1
} || {
  tail -n 30 build/apt.log >&2
  exit 1
}

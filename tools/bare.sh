#!/bin/bash
# Makes a fresh Debian root, puts the committed tree into it, and runs the README's commands there: what works for us
# must work for a newcomer. BARE_TARGETS and BARE_KEEP=1 (keep the root) are for whoever mends it; a target with a slash is a
# program of the tree: BARE_TARGETS=.ci/run is the gate.
set -eu -o pipefail

if [ "${BARE_INSIDE:-}" = "" ]; then
  # Mounts and processes of the run end with this namespace, whatever happens.
  export BARE_INSIDE=1
  exec unshare --mount --pid --fork --kill-child=SIGKILL --propagation private "$0" "$@"
fi

repo=$(cd "$(dirname "$0")/.." && pwd -P)
targets=${BARE_TARGETS:-demo test}
suite=${BARE_SUITE:-bookworm}
root=$(mktemp -d "${TMPDIR:-/var/tmp}/sekisho-bare.XXXXXX")
tree=/root/sekisho

# shellcheck disable=SC2317 # called by the trap
finish() {
  status=$?
  for mount in run dev sys proc .; do umount -l "$root/$mount" 2>/dev/null || true; done
  if [ "${BARE_KEEP:-}" = 1 ]; then
    echo "bare: kept in $root"
  else
    # Only what lies on this file system, should a mount have stayed.
    rm -rf --one-file-system "$root"
  fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { echo "bare: $*"; }

# Copies a file or folder of this machine to the same place in the root, if there is one.
bring() {
  [ -e "$1" ] || return 0
  mkdir -p "$root$(dirname "$1")"
  cp -aL "$1" "$root$(dirname "$1")/"
}

say "making a Debian root ($suite)"
mmdebstrap --quiet --variant=apt --include=make,git,ca-certificates "$suite" "$root"

# The way to packages is this machine's: mirrors, proxies and certificates.
rm -rf "$root/etc/apt/sources.list" "$root/etc/apt/sources.list.d"
for path in /etc/apt /usr/share/keyrings /etc/npmrc "$HOME/.npmrc" /etc/resolv.conf /etc/hosts \
  /etc/ssl/certs/ca-certificates.crt /usr/local/share/ca-certificates; do
  bring "$path"
done
[ "$HOME" = /root ] || { [ ! -e "$HOME/.npmrc" ] || cp "$HOME/.npmrc" "$root/root/.npmrc"; }
pass=()
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY \
  NODE_EXTRA_CA_CERTS SSL_CERT_FILE SSL_CERT_DIR GIT_SSL_CAINFO CURL_CA_BUNDLE; do
  [ -n "${!name:-}" ] || continue
  pass+=("$name=${!name}")
  case ${!name} in /*) [ -e "$root${!name}" ] || bring "${!name}" ;; esac
done

# `ip netns exec` makes the root a slave mount, so the root has to be a mount.
mount --bind "$root" "$root"
mount --make-private "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --make-rprivate "$root/sys"
mount --rbind /dev "$root/dev"
mount --make-rprivate "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"

git clone --quiet --no-hardlinks "$repo" "$root$tree"
say "commit $(git -C "$root$tree" log -1 --format='%h %s')"

inside() {
  env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    "${pass[@]}" chroot "$root" /bin/bash -c "cd $tree && exec $*"
}

result=0
for target in $targets; do
  started=$SECONDS
  case $target in */*) command=$target ;; *) command="make $target" ;; esac
  say "$command"
  if inside "$command" </dev/null; then
    say "$command: passed in $((SECONDS - started)) s"
  else
    say "$command: FAILED after $((SECONDS - started)) s"
    result=1
  fi
done
exit "$result"

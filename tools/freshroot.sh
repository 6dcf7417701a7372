#!/bin/sh
# Proves a commit on a system that has nothing: a Debian 12 in a folder, with Go, make and git alone, and a clone that
# has no neighbours. There .ci/install runs with apt's sources in their older form; then, on a second such system with
# the newer form, the README's two commands, before anything is installed, and .ci/run.
#
#   tools/freshroot.sh [-c FOLDER] [-o install,demo,test,ci] [COMMIT]
#
# Runs as root, and needs debootstrap and git; Go is copied from this machine, and so is what tells apt, pip, npm, cargo
# and Go of proxies, certificates and mirrors. FOLDER (/var/tmp/freshroot) holds both systems, their logs, and what they
# download: a second run is quicker. -o leaves parts out. COMMIT is HEAD without it.
set -eu

folder=/var/tmp/freshroot parts=install,demo,test,ci
while getopts c:o: option; do
  case $option in
  c) folder=$OPTARG ;;
  o) parts=$OPTARG ;;
  *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
done
shift $((OPTIND - 1))
release=bookworm
repository=$(cd "$(dirname "$0")/.." && pwd)
commit=$(git -C "$repository" rev-parse "${1:-HEAD}^{commit}")
fail() { echo "freshroot: $*" >&2; exit 1; }
test "$(id -u)" = 0 || fail "needs root"
command -v debootstrap > /dev/null || fail "needs debootstrap (apt-get install debootstrap)"

# The mounts are of this script alone, and so are the processes: none outlives it. It is read whole, so that a checkout
# while it runs does not change it.
if test -z "${FRESHROOT_INSIDE:-}"; then
  FRESHROOT_INSIDE=1 exec unshare --mount --pid --fork --kill-child \
    sh -c "$(cat "$0")" "$0" -c "$folder" -o "$parts" "$commit"
fi
mkdir -p "$folder/cache"
exec 9> "$folder/lock"
flock -n 9 || fail "another run uses $folder"

# The bare system, made once.
base=$folder/base-$release.tar
if ! test -e "$base"; then
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $release" 2> /dev/null | head -1)
  rm -rf "$folder/base"
  debootstrap --variant=minbase --include=ca-certificates,git,make $release "$folder/base" $mirror > "$folder/base.log" ||
    { tail "$folder/base.log"; fail "debootstrap"; }
  tar -C "$folder/base" -cf "$base.new" .
  mv "$base.new" "$base"
  rm -rf "$folder/base"
fi

# What tells of proxies, certificates and mirrors, as shell commands.
registries() {
  env | grep -iE '^((https?|ftp|all|no)_proxy|npm_config_[a-z_]+|cargo_(http|net|registries|source)_[a-z_]+)=
^pip_(index_url|extra_index_url|trusted_host|cert|default_timeout)=
^go(nosumdb|noproxy|private|insecure)=
^(ssl_cert_file|ssl_cert_dir|node_extra_ca_certs|requests_ca_bundle|curl_ca_bundle|git_ssl_cainfo)=' |
    sed "s/'/'\\\\''/g; s/=\(.*\)/='\1'/; s/^/export /"
  echo "export GOPROXY='$(go env GOPROXY)' GOSUMDB='$(go env GOSUMDB)'"
}

# system NAME list|sources: a bare system with the clone in /root/src/cmi.
system() {
  root=$folder/$1
  test ! -e "$root" || rm -rf --one-file-system "$root"
  mkdir -p "$root"
  tar -C "$root" -xf "$base"
  if test "$2" = sources; then
    read -r _ uri _ < "$root/etc/apt/sources.list"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
      "$uri" $release > "$root/etc/apt/sources.list.d/debian.sources"
    rm "$root/etc/apt/sources.list"
  fi
  # The way to the registries.
  apt-config dump | grep -E '^Acquire::(https?|Check|Retries|ForceIPv)' > "$root/etc/apt/apt.conf.d/90host" || true
  cp -rT /etc/apt/auth.conf.d "$root/etc/apt/auth.conf.d" 2> /dev/null || true
  cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
  cp /usr/local/share/ca-certificates/* "$root/usr/local/share/ca-certificates/" 2> /dev/null || true
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  for f in /etc/pip.conf /etc/npmrc "$HOME/.npmrc" "$HOME/.pip" "$HOME/.config/pip" "$HOME/.cargo/config" \
    "$HOME/.cargo/config.toml"; do
    test -e "$f" || continue
    to=$root/$(echo "$f" | sed "s|^$HOME/|/root/|")
    mkdir -p "$(dirname "$to")"
    cp -rT "$f" "$to"
  done
  # Downloads are kept, what is built from them is not.
  for c in var/cache/apt/archives root/go/pkg/mod/cache/download root/.npm/_cacache root/.cache/pip \
    root/.cargo/registry/cache; do
    mkdir -p "$root/$c" "$folder/cache/$c"
    mount --bind "$folder/cache/$c" "$root/$c"
  done
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs tmpfs "$root/dev/shm"
  registries > "$root/etc/registries"
  cp -a "$(go env GOROOT)" "$root/usr/local/go"
  git clone --quiet --no-local "file://$repository" "$root/root/src/cmi"
  git -C "$root/root/src/cmi" checkout --quiet --detach "$commit"
  for command in gcc cc node python3 cargo; do
    test -z "$(chroot "$root" sh -c "command -v $command")" || fail "$command is in the bare system"
  done
}

# inside NAME COMMAND…: runs it in the clone of that system, with nothing of this machine's environment but the way to
# the registries. What it prints is kept.
inside() {
  name=$1
  shift
  log=$folder/$name-$(echo "$*" | tr -cs 'a-z\n' -).log
  echo "== $(date +%T) $name: $*"
  began=$(date +%s)
  {
    env -i PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root CI=true \
      chroot "$folder/$name" sh -c '. /etc/registries; cd /root/src/cmi; exec "$@"' sh "$@" < /dev/null 2>&1 &&
      echo 0 > "$folder/code" || echo $? > "$folder/code"
  } | tee "$log"
  read -r code < "$folder/code"
  summary="$summary$name: $*: $(($(date +%s) - began)) s, exit code $code
$(grep '^== ' "$log" || true)
"
  test "$code" = 0 || { printf '%s' "$summary"; fail "$name: $* failed; its log is $log"; }
}

summary=
for part in $(echo "$parts" | tr , ' '); do
  case $part in
  install)
    system list list
    inside list bash .ci/install
    ;;
  demo | test | ci)
    test -n "${ready:-}" || system sources sources
    ready=1
    case $part in
    demo | test) inside sources make "$part" ;;
    ci) inside sources bash .ci/run ;;
    esac ;;
  *) fail "no part is named $part" ;;
  esac
done
echo "commit $commit"
printf '%s' "$summary"

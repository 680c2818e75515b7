# What the rig's commands share: the releases, the cache, and how a release is run.
# Sourced by the scripts beside it; it refuses to know anything about Floodwall itself.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
RELEASES=(1.4.20 1.4.21 1.4.22 1.7.8 1.7.9 1.7.10 1.8.2 1.8.3 1.8.4)
cache=${FLOODWALL_CACHE:-$(dirname "$here")/.cache}/django

die() {
    printf '%s\n' "$2" >&2
    exit "$1"
}

known_release() {
    local release
    for release in "${RELEASES[@]}"; do
        [ "$release" = "$1" ] && return
    done
    die 2 "$1 is no release of this rig; it knows: ${RELEASES[*]}"
}

# Replaces this process by the release's interpreter, so that a caller's signals and its end of
# standard input reach Django and not a shell in between. Exit status 3 means: not provisioned.
run_release() {
    local release=$1
    shift
    known_release "$release"
    [ -x "$cache/$release/python" ] ||
        die 3 "Django $release is not provisioned; remedy: run $here/provision $release"
    exec "$cache/$release/python" "$@"
}

# What the scripts of this folder share; they run in the systemd that tests/package/boot has booted.
# shellcheck shell=bash disable=SC2034 # the scripts use them
set -u
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PAGER=cat
config=/etc/floodwall/floodwall.toml state=/var/lib/floodwall/floodwall.state

# An unexpected end tells what the service said.
ended() {
    local status=$?
    [ $status = 0 ] && return
    printf '  FAILED\n\n'
    systemctl status --no-pager --lines=0 floodwall.service
    journalctl --no-pager --output=short-precise --lines=60 --unit=floodwall.service --unit=floodwall.socket
}
trap ended EXIT
# It took too long.
trap 'exit 143' TERM

heading() { printf '\n%s\n' "$*"; }

# check "what" COMMAND…: it must succeed.
check() {
    local said
    if said=$("${@:2}" 2>&1); then
        printf '  ok  %s\n' "$1"
    else
        printf '  %s: %s\n%s\n' "$1" "${*:2}" "$said"
        exit 1
    fi
}

# await "what" COMMAND…: it must succeed within 20 seconds.
await() {
    local _
    for _ in {1..200}; do
        "${@:2}" >/dev/null 2>&1 && break
        sleep 0.1
    done
    check "$@"
}

not() { ! "$@"; }
is() { [ "$1" = "$2" ] || { printf '%s, not %s\n' "$1" "$2"; false; }; }
property() { systemctl show --value --property="$1" "${2:-floodwall.service}"; }
main_process() { property MainPID; }
processes() { cat "/sys/fs/cgroup/system.slice/floodwall.service/cgroup.procs"; }

# says PORT TEXT: an exchange through Floodwall, answered by the application called TEXT.
says() { is "$(curl -sS --max-time 10 "http://127.0.0.1:$1/")" "$2"; }

# application PORT|SOCKET NAME
application() {
    systemd-run --quiet --unit="application-$2" python3 /test/application.py "$1" "$2"
    local _ address=(http://127.0.0.1:"$1"/)
    [ "${1#/}" = "$1" ] || address=(--unix-socket "$1" http://application/)
    for _ in {1..100}; do
        [ "$(curl -s "${address[@]}")" = "$2" ] && return
        sleep 0.1
    done
    printf 'the application %s does not answer\n' "$2"
    exit 1
}

# Whether it is served, by a process that began after the one with the id $1 had.
replaced() { [ "$(main_process)" != "$1" ] && [ "$(property ActiveState)" = active ]; }
runs_new_program() { is "$(readlink "/proc/$(main_process)/exe")" /usr/bin/floodwall; }
alone() { is "$(processes)" "$(main_process)"; }

# under_load PORT "what" COMMAND…: it must succeed, and no request of a client that goes on sending
# meanwhile may fail.
under_load() {
    local port=$1 what=$2 said last
    shift 2
    coproc CLIENT { python3 /test/client.py "$port" 2>&1; }
    read -r -t 30 said <&"${CLIENT[0]}"
    check "a client sends requests" is "$said" ready
    check "$what" "$@"
    local output=${CLIENT[0]} input=${CLIENT[1]} process=$CLIENT_PID
    exec {input}>&-
    said=$(cat <&"$output")
    wait "$process"
    last=$(tail -n 1 <<<"$said")
    [[ $last =~ ^[1-9][0-9]*\ 0$ ]] || { printf '  requests failed meanwhile, sent and failed:\n%s\n' "$said"; exit 1; }
    printf '  ok  meanwhile %s requests, %s failed\n' "${last% *}" "${last#* }"
}

# Sessions known, as the running process tells them.
sessions() {
    local before after _
    before=$(journalctl --quiet --unit=floodwall.service --output=cat | grep -c 'keys_capacity')
    systemctl kill --kill-whom=main --signal=USR1 floodwall.service
    for _ in {1..100}; do
        after=$(journalctl --quiet --unit=floodwall.service --output=cat | grep 'keys_capacity')
        if [ "$(grep -c . <<<"$after")" -gt "$before" ]; then
            tail -n 1 <<<"$after" | grep -o '"keys":[0-9]*' | grep -o '[0-9]*'
            return
        fi
        sleep 0.1
    done
    echo "it does not tell"
}

#!/bin/sh
# Offloads cards when they are mounted. For a launchd agent with StartOnMount, which is started at every mount:
#
#   offload_on_mount.sh PATTERN DESTINATION...
#   offload_on_mount.sh 'A0*' /Volumes/Raid /Volumes/Shuttle
#
# Volumes whose name matches PATTERN are cards. Where there is none, where a destination is missing, or where all of
# them are done, it ends at once, with 0. `examples/install.py launchd` makes the agent.
#
#   OFFLOAD_VOLUMES    where volumes are mounted (default: /Volumes)
#   OFFLOAD_STATE      what is done (default: ~/Library/Application Support/pfndispatchcopy/done)
#   OFFLOAD_LOG        one log for all (default: ~/Library/Logs/pfndispatchcopy.log)
#   OFFLOAD_ON_FINISH  run at the end of each, with the summary on its standard input; notify.sh is one
#   PFNDISPATCHCOPY    the program
set -u
export PATH="$HOME/.local/bin:/opt/homebrew/bin:/usr/local/bin:$PATH"
pattern=$1
shift
volumes=${OFFLOAD_VOLUMES:-/Volumes}
state=${OFFLOAD_STATE:-$HOME/Library/Application Support/pfndispatchcopy/done}
log=${OFFLOAD_LOG:-$HOME/Library/Logs/pfndispatchcopy.log}

for destination do
    [ -d "$destination" ] || exit 0 # its own mount starts this again
done

# A card that is formatted and filled anew has other files, and is another one.
contents_of() {
    { (cd "$1" && find . -type f ! -name '.*' -exec ls -ln {} +) 2>/dev/null; shift; printf '%s\n' "$@"; } | cksum
}

# launchd tells this script alone to stop, and gives it ExitTimeOut seconds.
child=
# shellcheck disable=SC2317 # reached by the trap
stop() {
    stopping=yes
    [ -z "$child" ] || kill -TERM "$child"
}
trap stop TERM INT HUP

offload() {
    "${PFNDISPATCHCOPY:-pfndispatchcopy}" \
        --config "${PFNDISPATCHCOPY_CONFIG:-/dev/null}" \
        --exclude-system --verify destination --on-conflict error --quiet \
        --log-file "$log" ${OFFLOAD_ON_FINISH:+--on-finish "$OFFLOAD_ON_FINISH"} \
        -- "$@" </dev/null &
    child=$!
    wait "$child"
    ended=$?
    while [ -n "${stopping-}" ] && kill -0 "$child" 2>/dev/null; do # a signal ends the wait, not the program
        wait "$child"
        ended=$?
    done
    child=
    return "$ended"
}

worst=0
for card in "$volumes"/*; do
    name=${card##*/}
    # shellcheck disable=SC2254 # it is a pattern
    case $name in
        $pattern) ;;
        *) continue ;;
    esac
    [ -d "$card" ] || continue
    for destination do # a destination may match as well
        [ "$card" != "$destination" ] || continue 2
    done
    contents=$(contents_of "$card" "$@")
    [ "$(cat "$state/$name" 2>/dev/null)" != "$contents" ] || continue
    mkdir -p "$state" "$(dirname "$log")" || exit 1
    offload "$card" "$@"
    code=$?
    [ -z "${stopping-}" ] || exit "$code"
    if [ "$code" -eq 0 ]; then
        printf '%s\n' "$contents" >"$state/$name"
    else
        worst=$code
    fi
done
exit "$worst"

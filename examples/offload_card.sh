#!/bin/sh
# Offloads a camera card to several disks, and says in plain words what may be done with the card.
#
#   offload_card.sh CARD DESTINATION...
#   offload_card.sh /media/A001 /mnt/raid /mnt/shuttle
#
# makes /mnt/raid/2026-11-25/A001 and /mnt/shuttle/2026-11-25/A001, and ends with the exit code of pfndispatchcopy.
#
#   OFFLOAD_DAY            folder on every destination (default: today). After midnight, name the day that the offload
#                          began on, so that it is completed and not begun anew. A second card of the same name needs
#                          a folder of its own: OFFLOAD_DAY=2026-11-25-b
#   OFFLOAD_VERIFY_SOURCE  per-file or after-all: read the card twice, to find a reader that gives changing bytes
#   OFFLOAD_LOG_DIR        one log a card (default: ~/offload-logs). Not on the destinations: a full one loses it.
#   PFNDISPATCHCOPY        the program, where it is neither in PATH nor in the .venv beside this folder
set -u

say() {
    printf '%s\n' "$*" >&2
}

refuse() {
    say "Refused, nothing was copied; do not format the card: $*"
    exit 2
}

[ $# -ge 2 ] || refuse "usage: offload_card.sh CARD DESTINATION..."
program=${PFNDISPATCHCOPY:-$(command -v pfndispatchcopy || echo "$(dirname -- "$0")/../.venv/bin/pfndispatchcopy")}
command -v "$program" >/dev/null || refuse "there is no program $program"

[ -d "$1" ] || refuse "there is no card $1"
# A shell that completes names ends them with a slash, and CARD/ would mean the content without its folder:
# two cards would end up in one heap.
card=$(CDPATH='' cd -- "$1" && pwd) || refuse "$1 cannot be opened"
[ "$card" != / ] || refuse "/ is no card"
# The folder that a card is mounted on is empty while it is not.
[ -n "$(ls -A -- "$card")" ] || refuse "$card is empty: is the card mounted?"
shift

day=${OFFLOAD_DAY:-$(date +%Y-%m-%d)}
for destination do
    # The program makes missing folders. A disk that is missing must not become a folder on the system's disk.
    [ -d "$destination" ] || refuse "there is no folder $destination: is the disk mounted?"
    shift
    set -- "$@" "${destination%/}/$day"
done

log_folder=${OFFLOAD_LOG_DIR:-${HOME:-.}/offload-logs}
mkdir -p -- "$log_folder" || refuse "no log can be written"
log=$log_folder/$day-${card##*/}.log

# Ctrl-C reaches the program as well. This shell has to outlive it, to tell what became of the card.
trap : INT TERM HUP

# The user's own configuration is left out, and what the verdict rests on is spelled out: a quick check, a pattern or
# a rule for conflicts in there would change what exit code 0 means. One that is named in the environment counts.
summary=$("$program" \
    --config "${PFNDISPATCHCOPY_CONFIG:-/dev/null}" \
    --exclude-system \
    --verify destination \
    --verify-source "${OFFLOAD_VERIFY_SOURCE:-none}" \
    --on-conflict error \
    --log-file "$log" \
    -- "$card" "$@")
code=$?

[ -z "$summary" ] || printf '%s\n' "$summary"
case $code in
    0)
        echo "Every copy is complete and verified: the card may be formatted."
        ;;
    2)
        say "Refused before anything was copied, see above. Do not format the card."
        ;;
    3)
        say "INCOMPLETE. Do not format the card. Not everything is on:"
        printf '%s\n' "$summary" | grep -Ev ': (verified|identical), ' >&2 || say "(part of the card cannot be read)"
        say "Put right what the errors above name, and run it again with OFFLOAD_DAY=$day:"
        say "only what is missing is copied."
        ;;
    4)
        say "BYTES DIFFER. Do not format the card. What was read back is not what was read from the card:"
        say "try another reader, cable or disk. Copies that differ are named NAME.corrupt."
        ;;
    129 | 130 | 143)
        say "Interrupted. Do not format the card. Run it again with OFFLOAD_DAY=$day: only what is missing is copied."
        ;;
    *)
        say "FAILED (exit code $code), nothing is complete, see above. Do not format the card."
        ;;
esac
echo "Log: $log"
exit "$code"

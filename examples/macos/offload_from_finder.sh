#!/bin/sh
# Offloads what is selected in the Finder. For a Quick Action, which has neither a terminal nor a PATH of its own:
#
#   offload_from_finder.sh [DESTINATION...] -- ITEM...
#
# Without destinations it asks for them. `examples/install.py finder` makes the Quick Action.
#
#   OFFLOAD_LOG      one log for all (default: ~/Library/Logs/pfndispatchcopy.log)
#   PFNDISPATCHCOPY  the program
set -u
export PATH="$HOME/.local/bin:/opt/homebrew/bin:/usr/local/bin:$PATH"
program=${PFNDISPATCHCOPY:-pfndispatchcopy}
log=${OFFLOAD_LOG:-$HOME/Library/Logs/pfndispatchcopy.log}

# What is said is an argument of the script, never a part of it: a name cannot become a command.
tell() {
    osascript -e 'on run argv' -e 'display notification (item 2 of argv) with title (item 1 of argv)' -e 'end run' \
        "$1" "$2" >/dev/null 2>&1
}

# Stays until somebody has seen it.
warn() {
    osascript -e 'on run argv' \
        -e 'tell application "System Events" to display alert (item 1 of argv) message (item 2 of argv) as critical' \
        -e 'end run' "$1" "$2" >/dev/null 2>&1
}

ask() {
    osascript -e 'set chosen to choose folder with prompt "Offload to which disks?" with multiple selections allowed' \
        -e 'set answer to ""' -e 'repeat with each in chosen' \
        -e 'set answer to answer & POSIX path of each & linefeed' -e 'end repeat' -e 'answer' 2>/dev/null
}

if ! command -v "$program" >/dev/null; then
    warn "Offload impossible" "There is no program $program."
    exit 2
fi

if [ "${1-}" = -- ]; then
    folders=$(ask) || exit 0 # cancelled
    while IFS= read -r folder; do
        [ -z "$folder" ] || set -- "$folder" "$@"
    done <<FOLDERS
$folders
FOLDERS
fi

# What stands before "--" is a destination; what is behind it is to be copied.
is_item=
for each do
    shift
    if [ -n "$is_item" ]; then
        set -- "$@" "$each"
    elif [ "$each" = -- ]; then
        is_item=yes
        set -- "$@" --
    elif [ -d "$each" ]; then
        set -- "$@" -d "$each"
    else
        warn "Offload refused" "There is no folder $each: is the disk connected? Nothing was copied."
        exit 2
    fi
done

mkdir -p "$(dirname "$log")"
words=$("$program" \
    --config "${PFNDISPATCHCOPY_CONFIG:-/dev/null}" \
    --exclude-system --verify destination --on-conflict error \
    --log-file "$log" --quiet "$@" 2>&1 </dev/null)
code=$?

reason=$(printf '%s\n' "$words" | sed -n 's/^pfndispatchcopy: error: //p' | head -n 3)
case $code in
    0) tell "Offload complete" "Everything is complete and verified: the card may be formatted." ;;
    2) warn "Offload refused" "Nothing was copied. $reason" ;;
    3) warn "Offload INCOMPLETE" "Do not format the card. $reason" ;;
    4) warn "Offload: BYTES DIFFER" "Do not format the card. $reason" ;;
    129 | 130 | 143) tell "Offload interrupted" "Do it again: only what is missing is copied." ;;
    *) warn "Offload FAILED" "Do not format the card. ${reason:-Exit code $code.}" ;;
esac
exit "$code"

# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# What the scripts share: where the repository is, how a step is shown and how a failure is told.

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034  # the scripts that source this file use it
venv=$root/.venv

# fail MESSAGE...: one line that names the remedy, exit 1.
fail() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# explain "$@": whoever asks for --help reads the comment at the script's top.
explain() {
	[[ ${1:-} == -h || ${1:-} == --help ]] || return 0
	sed -n '3,${/^#/!q; s/^# \{0,1\}//p}' "$0"
	exit 0
}

# need_root WHY: the scripts that touch the kernel say what for.
need_root() {
	[[ $EUID -eq 0 ]] || fail "$1; run: sudo $0"
}

# seconds SINCE: time since an $EPOCHREALTIME, to a tenth.
seconds() {
	local tenths=$(((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}) / 100000))
	printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# step LABEL COMMAND...: runs quietly; one line, at once, to which its seconds are added; the end of its output when it
# fails.
step() {
	local label=$1 began=$EPOCHREALTIME output
	shift
	printf '%-58s ' "$label"
	if output=$("$@" 2>&1); then
		printf '%5s s\n' "$(seconds "$began")"
		return 0
	fi
	printf 'FAILED\n'
	tail -n 40 <<<"$output" >&2
	return 1
}

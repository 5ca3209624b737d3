#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Run as root inside the box: sets voxdp up and proves with the demo that this machine can carry calls.
set -euo pipefail

tree=${1:?usage: provision.sh DIRECTORY}
[[ -x $tree/scripts/setup ]] || {
	echo "provision.sh: no voxdp in $tree; run: vagrant rsync" >&2
	exit 1
}
"$tree/scripts/setup"
"$tree/scripts/demo"
echo "voxdp is ready: vagrant ssh, cd voxdp, sudo scripts/demo"

# SPDX-License-Identifier: GPL-3.0-or-later
"""The `voxdp` command line, one file per object; imported only when its object is named."""

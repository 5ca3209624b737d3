# SPDX-License-Identifier: GPL-3.0-or-later
"""The relay in the kernel: loaded, attached, pinned and watched; its maps read and written."""

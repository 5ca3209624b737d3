# SPDX-License-Identifier: GPL-3.0-or-later
"""The userspace engine: C behind one header, a process of its own."""

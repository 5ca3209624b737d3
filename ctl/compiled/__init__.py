# SPDX-License-Identifier: GPL-3.0-or-later
"""The busiest modules as machine code, made of the same Python sources, which run just as well without."""

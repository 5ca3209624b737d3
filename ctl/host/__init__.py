# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host is fit for the relay, and what each defect needs."""

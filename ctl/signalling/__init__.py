# SPDX-License-Identifier: GPL-3.0-or-later
"""The world around the signalling core: transports, names, trunks, records, and taking up calls."""

# SPDX-License-Identifier: GPL-3.0-or-later
"""SIP decided without a socket, a clock or a die: bytes and `now` in, effects out."""

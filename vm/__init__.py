# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs: hosts made of network namespaces, and real SIP clients in them."""

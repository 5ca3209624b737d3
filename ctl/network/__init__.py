# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host knows of its networks: interfaces, addresses, routes, neighbours, next hops."""

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the platform remembers: users, routes and call records, in PostgreSQL."""

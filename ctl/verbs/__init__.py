# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be asked of a running controller, by its socket and by REST."""

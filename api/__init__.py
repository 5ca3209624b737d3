# SPDX-License-Identifier: GPL-3.0-or-later
"""What others see over HTTP: the REST API, health and metrics."""

# SPDX-License-Identifier: GPL-3.0-or-later
"""How processes that serve write their log."""

from __future__ import annotations

import logging
import sys

import structlog

from ctl.config import Config


def configure_logging(config: Config) -> None:
    """Send everything that is logged, by us or by libraries, to standard error in the format asked for."""
    level = getattr(logging, config.log.level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    final: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if config.log.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, final],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=final, foreign_pre_chain=[*shared, _in_a_line]))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _in_a_line(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Put what a library tells in several lines into one, for logs are searched and counted by lines."""
    event["event"] = "; ".join(line.strip() for line in str(event["event"]).splitlines() if line.strip())
    return event

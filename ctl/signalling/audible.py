# SPDX-License-Identifier: GPL-3.0-or-later
"""Joins all that parties of a call hear beside each other: what is played, what is pressed, and music on hold."""

from __future__ import annotations

from ctl.config import Config
from ctl.observe.media_watch import MediaWatch
from ctl.sessions.digits import Digits
from ctl.sessions.hold_music import HoldMusic
from ctl.sessions.media_sessions import MediaSessions
from ctl.sessions.playback import Playback
from ctl.sessions.prompts import Prompts
from ctl.signalling.conductor import Conductor


def make_playback(config: Config, sessions: MediaSessions, watch: MediaWatch, conductor: Conductor) -> Playback:
    """Return what plays; keys that signalling tells of pass through it from now on."""
    prompts = Prompts(config.media.prompts, config.run.directory / "clips")
    playback = Playback(sessions, prompts, watch)
    conductor.pressed = Digits(sessions, playback, watch, conductor.press).pressed
    if config.media.hold_music:
        music = HoldMusic(sessions, playback, lambda _call, _leg: config.media.hold_music)
        sessions.on_agreed.append(music.look)
    return playback

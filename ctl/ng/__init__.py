# SPDX-License-Identifier: GPL-3.0-or-later
"""The ng control protocol: proxies such as Kamailio and OpenSIPS drive the relay with it.

`framing` and `bencode` read bytes, `request` reads what a dictionary asks for, `calls` knows who takes part in what,
`describe` writes session descriptions as proxies expect them, `commands` does what is asked, `replies` says what came
of it, and the servers carry it all.
"""

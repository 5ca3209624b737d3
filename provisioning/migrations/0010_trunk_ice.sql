-- SPDX-License-Identifier: GPL-3.0-or-later
-- Whether ICE is spoken with a trunk; NULL: as with all others.

ALTER TABLE trunks ADD COLUMN ice text;

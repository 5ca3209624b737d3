-- SPDX-License-Identifier: GPL-3.0-or-later
-- Whether ICE is spoken with a user's telephones; NULL: as with all others.

ALTER TABLE users ADD COLUMN ice text CHECK (ice IN ('remove', 'lite', 'full'));

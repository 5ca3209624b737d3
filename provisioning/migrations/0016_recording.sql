-- SPDX-License-Identifier: GPL-3.0-or-later
-- Which calls of a tenant are recorded, and whether somebody has to have agreed; NULL: as with all others.

ALTER TABLE tenants ADD COLUMN recording text CHECK (recording IN ('off', 'on-demand', 'all'));
ALTER TABLE tenants ADD COLUMN recording_consent text CHECK (recording_consent IN ('required', 'not-needed'));

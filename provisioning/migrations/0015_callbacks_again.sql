-- SPDX-License-Identifier: GPL-3.0-or-later
-- Who did not answer when called back is called again, a few times: how often that was, and when it is due.

ALTER TABLE acd_callers
    ADD COLUMN tries integer NOT NULL DEFAULT 0,
    ADD COLUMN not_before double precision NOT NULL DEFAULT 0;

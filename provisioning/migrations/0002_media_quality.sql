-- SPDX-License-Identifier: GPL-3.0-or-later
-- How each direction of a call sounded; null where it was not measured.

ALTER TABLE cdr_media
    ADD COLUMN mos_min double precision CHECK (mos_min BETWEEN 1 AND 5),
    ADD COLUMN mos_avg double precision CHECK (mos_avg BETWEEN 1 AND 5),
    ADD COLUMN loss_pct double precision CHECK (loss_pct BETWEEN 0 AND 100),
    ADD COLUMN jitter_max_ms double precision CHECK (jitter_max_ms >= 0),
    ADD COLUMN rtt_ms double precision CHECK (rtt_ms >= 0);

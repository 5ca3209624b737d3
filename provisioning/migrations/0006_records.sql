-- SPDX-License-Identifier: GPL-3.0-or-later
-- By which trunks a call came and went, what it cost, and whether its parties were forgotten by policy.

ALTER TABLE cdrs
    ADD COLUMN from_trunk text,
    ADD COLUMN to_trunk text,
    ADD COLUMN cost_micros bigint CHECK (cost_micros >= 0),
    ADD COLUMN pdd_ms bigint
        GENERATED ALWAYS AS ((extract(epoch FROM coalesce(ringing_at, answered_at) - started_at) * 1000)::bigint) STORED,
    ADD COLUMN forgotten boolean NOT NULL DEFAULT false;

CREATE INDEX cdrs_by_tenant ON cdrs (tenant_id, started_at DESC, id DESC);
CREATE INDEX cdrs_to_forget ON cdrs (tenant_id, started_at) WHERE NOT forgotten;

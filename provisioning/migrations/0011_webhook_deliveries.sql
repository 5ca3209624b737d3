-- SPDX-License-Identifier: GPL-3.0-or-later
-- What is to be told to webhooks, kept until it was taken or given up. next_at of a row that somebody sends now is when
-- it may be sent again, should that one have died.

ALTER TABLE webhooks
    ADD COLUMN failures integer NOT NULL DEFAULT 0;

CREATE TABLE webhook_deliveries (
    tenant_id bigint NOT NULL,
    webhook text COLLATE "C" NOT NULL,
    event uuid NOT NULL,
    type text NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    next_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'given_up')),
    status integer,
    error text,
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, webhook, event),
    FOREIGN KEY (tenant_id, webhook) REFERENCES webhooks (tenant_id, name) ON DELETE CASCADE
);

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_at) WHERE state = 'waiting';
CREATE INDEX webhook_deliveries_done ON webhook_deliveries (finished_at) WHERE state <> 'waiting';

ALTER TABLE webhook_deliveries ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON webhook_deliveries TO voxdp_tenant USING (tenant_id = current_tenant())
    WITH CHECK (tenant_id = current_tenant());
GRANT SELECT, INSERT, UPDATE ON webhook_deliveries TO voxdp_tenant;

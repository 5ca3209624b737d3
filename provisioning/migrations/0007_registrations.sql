-- SPDX-License-Identifier: GPL-3.0-or-later
-- Who is registered where, for those who ask the database. Signalling goes by its own memory and journal; this follows
-- within seconds, and what a node wrote counts until it expires.

CREATE TABLE registrations (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    node text NOT NULL,
    username text COLLATE "C" NOT NULL,
    contact text NOT NULL,
    received text,
    q double precision,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, node, username, contact)
);

CREATE INDEX registrations_by_end ON registrations (expires_at);

ALTER TABLE registrations ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON registrations TO voxdp_tenant USING (tenant_id = current_tenant());
GRANT SELECT ON registrations TO voxdp_tenant;

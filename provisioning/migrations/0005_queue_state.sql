-- SPDX-License-Identifier: GPL-3.0-or-later
-- Who waits in queues and what agents do, as of now. A caller's row counts only as long as its lease, which the node
-- that has its call renews. Times are seconds of Unix time.

CREATE TABLE acd_callers (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    id text COLLATE "C" NOT NULL,
    queue text NOT NULL,
    joined double precision NOT NULL,
    lease double precision NOT NULL,
    node text NOT NULL,
    priority integer NOT NULL,
    number text,
    agent text,
    answered boolean NOT NULL,
    until double precision,
    announced double precision NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE acd_agents (
    tenant_id bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    state text NOT NULL,
    since double precision NOT NULL,
    until double precision,
    offered double precision NOT NULL,
    leaving text,
    PRIMARY KEY (tenant_id, name),
    FOREIGN KEY (tenant_id, name) REFERENCES agents ON DELETE CASCADE
);

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['acd_callers', 'acd_agents']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY tenant ON %I TO voxdp_tenant USING (tenant_id = current_tenant()) '
            'WITH CHECK (tenant_id = current_tenant())', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO voxdp_tenant', t);
    END LOOP;
END
$$;

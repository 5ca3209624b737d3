-- SPDX-License-Identifier: GPL-3.0-or-later
-- What a tenant has, kept apart from all others' by row-level security.
--
-- Whoever acts for a tenant does so as the role voxdp_tenant with voxdp.tenant set to its id: then PostgreSQL itself
-- shows and changes nothing else. References between objects include the tenant, so none can cross.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'voxdp_tenant') THEN
        CREATE ROLE voxdp_tenant NOLOGIN;
    END IF;
    IF NOT pg_has_role(current_user, 'voxdp_tenant', 'member') THEN
        GRANT voxdp_tenant TO CURRENT_USER;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'role voxdp_tenant is missing, have the administrator run: CREATE ROLE voxdp_tenant NOLOGIN; GRANT voxdp_tenant TO %', current_user;
END
$$;

CREATE FUNCTION current_tenant() RETURNS bigint LANGUAGE sql STABLE
    RETURN nullif(current_setting('voxdp.tenant', true), '')::bigint;

ALTER TABLE tenants
    ADD COLUMN realm text UNIQUE CHECK (realm = lower(realm) AND length(realm) BETWEEN 1 AND 255),
    ADD COLUMN display_name text NOT NULL DEFAULT '',
    ADD COLUMN enabled boolean NOT NULL DEFAULT true,
    ADD COLUMN dial_plan text,
    ADD COLUMN default_number text,
    ADD COLUMN channel_limit integer CHECK (channel_limit >= 0),
    ADD COLUMN spend_limit_micros bigint CHECK (spend_limit_micros >= 0),
    ADD COLUMN cdr_days integer NOT NULL DEFAULT 400 CHECK (cdr_days BETWEEN 1 AND 3650),
    ADD COLUMN personal_days integer NOT NULL DEFAULT 180 CHECK (personal_days BETWEEN 1 AND 3650),
    ADD COLUMN audit_days integer NOT NULL DEFAULT 400 CHECK (audit_days BETWEEN 365 AND 3650),
    ADD COLUMN version bigint NOT NULL DEFAULT 1,
    ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();

CREATE TABLE calendars (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    timezone text NOT NULL,
    hours jsonb NOT NULL,
    exceptions jsonb NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE dial_plans (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    country text NOT NULL,
    international_prefix text NOT NULL,
    national_prefix text NOT NULL,
    area_code text NOT NULL,
    emergency jsonb NOT NULL,
    rules jsonb NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name)
);

ALTER TABLE tenants ADD FOREIGN KEY (id, dial_plan) REFERENCES dial_plans (tenant_id, name);

-- HA1 values are sealed (AES-256-GCM) since there is a database key; voxdp run seals what is not.
ALTER TABLE users
    DROP CONSTRAINT users_ha1_md5_check,
    DROP CONSTRAINT users_ha1_sha256_check,
    ALTER COLUMN username TYPE text COLLATE "C",
    ADD COLUMN dial_plan text,
    ADD COLUMN caller_number text,
    ADD COLUMN hide_number boolean NOT NULL DEFAULT false,
    ADD COLUMN forward_always text,
    ADD COLUMN forward_busy text,
    ADD COLUMN forward_no_answer text,
    ADD COLUMN ring_seconds integer NOT NULL DEFAULT 30 CHECK (ring_seconds BETWEEN 5 AND 180),
    ADD COLUMN do_not_disturb boolean NOT NULL DEFAULT false,
    ADD COLUMN channel_limit integer CHECK (channel_limit >= 0),
    ADD COLUMN spend_limit_micros bigint CHECK (spend_limit_micros >= 0),
    ADD COLUMN version bigint NOT NULL DEFAULT 1,
    ADD UNIQUE (tenant_id, realm, username),
    ADD FOREIGN KEY (tenant_id, dial_plan) REFERENCES dial_plans (tenant_id, name);

CREATE TABLE groups (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    extension text,
    strategy text NOT NULL,
    ring_seconds integer NOT NULL,
    overflow text,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name),
    UNIQUE (tenant_id, extension)
);

CREATE TABLE group_members (
    tenant_id bigint NOT NULL,
    parent text NOT NULL,
    position integer NOT NULL,
    realm text NOT NULL,
    "user" text NOT NULL,
    PRIMARY KEY (tenant_id, parent, position),
    UNIQUE (tenant_id, parent, "user"),
    FOREIGN KEY (tenant_id, parent) REFERENCES groups ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, realm, "user") REFERENCES users (tenant_id, realm, username)
);

CREATE TABLE devices (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    realm text NOT NULL,
    "user" text NOT NULL,
    mac text,
    vendor text NOT NULL,
    model text NOT NULL,
    enabled boolean NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name),
    UNIQUE (tenant_id, mac),
    FOREIGN KEY (tenant_id, realm, "user") REFERENCES users (tenant_id, realm, username)
);

CREATE TABLE rate_decks (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    currency text NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE rates (
    tenant_id bigint NOT NULL,
    deck text NOT NULL,
    prefix text COLLATE "C" NOT NULL CHECK (prefix ~ '^[0-9]{1,15}$'),
    per_minute_micros integer NOT NULL CHECK (per_minute_micros >= 0),
    PRIMARY KEY (tenant_id, deck, prefix)
);

-- A foreign key would look a million times at the same row when a deck is imported; this removes what it would.
CREATE FUNCTION delete_rates() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM rates WHERE tenant_id = OLD.tenant_id AND deck = OLD.name;
    RETURN NULL;
END
$$;

CREATE TRIGGER rates_deleted AFTER DELETE ON rate_decks FOR EACH ROW EXECUTE FUNCTION delete_rates();

CREATE TABLE trunks (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    host text NOT NULL,
    port integer,
    transport text NOT NULL,
    domain text,
    username text,
    password text,
    registration boolean NOT NULL,
    sources jsonb NOT NULL,
    strip integer NOT NULL,
    prepend text NOT NULL,
    caller_id text NOT NULL,
    caller_number text,
    channel_limit integer,
    setup_seconds integer NOT NULL,
    retry_causes jsonb NOT NULL,
    rate_deck text,
    enabled boolean NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name),
    FOREIGN KEY (tenant_id, rate_deck) REFERENCES rate_decks
);

CREATE TABLE routes (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    prefix text NOT NULL,
    callers jsonb NOT NULL,
    calendar text,
    priority integer NOT NULL,
    strategy text NOT NULL,
    overflow boolean NOT NULL,
    emergency boolean NOT NULL,
    max_price_micros bigint,
    enabled boolean NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name),
    FOREIGN KEY (tenant_id, calendar) REFERENCES calendars
);

CREATE TABLE route_trunks (
    tenant_id bigint NOT NULL,
    parent text NOT NULL,
    position integer NOT NULL,
    trunk text NOT NULL,
    priority integer NOT NULL,
    weight integer NOT NULL,
    region text NOT NULL,
    PRIMARY KEY (tenant_id, parent, position),
    FOREIGN KEY (tenant_id, parent) REFERENCES routes ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, trunk) REFERENCES trunks
);

CREATE TABLE restrictions (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    prefix text NOT NULL,
    action text NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name),
    UNIQUE (tenant_id, prefix)
);

CREATE TABLE skills (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    description text NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE agents (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    realm text NOT NULL,
    "user" text NOT NULL,
    wrap_up_seconds integer,
    enabled boolean NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name),
    UNIQUE (tenant_id, realm, "user"),
    FOREIGN KEY (tenant_id, realm, "user") REFERENCES users (tenant_id, realm, username)
);

CREATE TABLE agent_skills (
    tenant_id bigint NOT NULL,
    parent text NOT NULL,
    position integer NOT NULL,
    skill text NOT NULL,
    level integer NOT NULL,
    PRIMARY KEY (tenant_id, parent, position),
    UNIQUE (tenant_id, parent, skill),
    FOREIGN KEY (tenant_id, parent) REFERENCES agents ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, skill) REFERENCES skills
);

CREATE TABLE queues (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    extension text,
    strategy text NOT NULL,
    discipline text NOT NULL,
    calendar text,
    ring_seconds integer NOT NULL,
    wrap_up_seconds integer NOT NULL,
    max_wait_seconds integer,
    max_length integer,
    overflow text,
    announce_seconds integer,
    callback boolean NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name),
    UNIQUE (tenant_id, extension),
    FOREIGN KEY (tenant_id, calendar) REFERENCES calendars
);

CREATE TABLE queue_skills (
    tenant_id bigint NOT NULL,
    parent text NOT NULL,
    position integer NOT NULL,
    skill text NOT NULL,
    level integer NOT NULL,
    PRIMARY KEY (tenant_id, parent, position),
    UNIQUE (tenant_id, parent, skill),
    FOREIGN KEY (tenant_id, parent) REFERENCES queues ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, skill) REFERENCES skills
);

CREATE TABLE queue_agents (
    tenant_id bigint NOT NULL,
    parent text NOT NULL,
    position integer NOT NULL,
    agent text NOT NULL,
    tier integer NOT NULL,
    PRIMARY KEY (tenant_id, parent, position),
    UNIQUE (tenant_id, parent, agent),
    FOREIGN KEY (tenant_id, parent) REFERENCES queues ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, agent) REFERENCES agents
);

-- A number belongs to one tenant only.
CREATE TABLE numbers (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    number text COLLATE "C" NOT NULL UNIQUE CHECK (number ~ '^\+[1-9][0-9]{3,14}$'),
    description text NOT NULL,
    realm text NOT NULL,
    "user" text,
    "group" text,
    queue text,
    calendar text,
    closed text,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, number),
    CHECK (num_nonnulls("user", "group", queue) <= 1),
    FOREIGN KEY (tenant_id, realm, "user") REFERENCES users (tenant_id, realm, username),
    FOREIGN KEY (tenant_id, "group") REFERENCES groups,
    FOREIGN KEY (tenant_id, queue) REFERENCES queues,
    FOREIGN KEY (tenant_id, calendar) REFERENCES calendars
);

ALTER TABLE users ADD FOREIGN KEY (tenant_id, caller_number) REFERENCES numbers (tenant_id, number);
ALTER TABLE tenants ADD FOREIGN KEY (id, default_number) REFERENCES numbers (tenant_id, number);
ALTER TABLE trunks ADD FOREIGN KEY (tenant_id, caller_number) REFERENCES numbers (tenant_id, number);

CREATE TABLE webhooks (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    url text NOT NULL,
    events jsonb NOT NULL,
    secret text,
    enabled boolean NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name)
);

-- Who did what. Each entry holds the hash of the one before it, so that none can be changed or taken out unseen;
-- where old ones were deleted by policy, audit_anchors keeps the hash that the chain goes on from. Both outlive
-- their tenant.
CREATE TABLE audit (
    tenant_id bigint NOT NULL,
    sequence bigint NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    address text NOT NULL,
    action text NOT NULL,
    resource text NOT NULL,
    key text NOT NULL,
    before jsonb,
    after jsonb,
    hash bytea NOT NULL,
    PRIMARY KEY (tenant_id, sequence)
);

CREATE TABLE audit_anchors (
    tenant_id bigint PRIMARY KEY,
    sequence bigint NOT NULL,
    hash bytea NOT NULL
);

-- A tenant's rows and no others. Who owns the tables, the controller, is bound by nothing.
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['calendars', 'dial_plans', 'users', 'groups', 'group_members', 'devices', 'rate_decks',
        'rates', 'trunks', 'routes', 'route_trunks', 'restrictions', 'skills', 'agents', 'agent_skills', 'queues',
        'queue_skills', 'queue_agents', 'numbers', 'webhooks', 'cdrs']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY tenant ON %I TO voxdp_tenant USING (tenant_id = current_tenant()) '
            'WITH CHECK (tenant_id = current_tenant())', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO voxdp_tenant', t);
    END LOOP;
END
$$;

-- A tenant reads its own entry and the audit of its changes, and adds to that, but takes nothing back.
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tenants TO voxdp_tenant USING (id = current_tenant());
GRANT SELECT ON tenants TO voxdp_tenant;
ALTER TABLE audit ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit TO voxdp_tenant USING (tenant_id = current_tenant())
    WITH CHECK (tenant_id = current_tenant());
GRANT SELECT, INSERT ON audit TO voxdp_tenant;
ALTER TABLE audit_anchors ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_anchors TO voxdp_tenant USING (tenant_id = current_tenant());
GRANT SELECT ON audit_anchors TO voxdp_tenant;

ALTER TABLE cdr_media ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON cdr_media TO voxdp_tenant
    USING (EXISTS (SELECT FROM cdrs WHERE cdrs.id = cdr_id AND cdrs.tenant_id = current_tenant()));
GRANT SELECT ON cdr_media TO voxdp_tenant;

-- Who routes calls listens on voxdp_plan: the id of the tenant whose objects changed, or nothing: any of them.
CREATE FUNCTION notify_plan() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('voxdp_plan', OLD.tenant_id::text);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('voxdp_plan', NEW.tenant_id::text);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION notify_all_plans() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('voxdp_plan', '');
    RETURN NULL;
END
$$;

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['calendars', 'dial_plans', 'groups', 'group_members', 'rate_decks', 'trunks', 'routes',
        'route_trunks', 'restrictions', 'agents', 'agent_skills', 'queues', 'queue_skills', 'queue_agents', 'numbers']
    LOOP
        EXECUTE format('CREATE TRIGGER plan_changed AFTER INSERT OR UPDATE OR DELETE ON %I '
            'FOR EACH ROW EXECUTE FUNCTION notify_plan()', t);
    END LOOP;
END
$$;

CREATE TRIGGER tenant_plan_changed AFTER INSERT OR UPDATE OR DELETE ON tenants
    FOR EACH STATEMENT EXECUTE FUNCTION notify_all_plans();

-- SPDX-License-Identifier: GPL-3.0-or-later
-- Tenants, their users, and the records of calls.

CREATE TABLE tenants (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    created_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO tenants (name) VALUES ('default');

-- A password is stored as HA1 = H(username:realm:password) per algorithm (RFC 7616, RFC 8760), never in clear.
CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id bigint NOT NULL REFERENCES tenants,
    realm text NOT NULL CHECK (realm = lower(realm) AND length(realm) BETWEEN 1 AND 255),
    username text NOT NULL CHECK (length(username) BETWEEN 1 AND 255),
    display_name text NOT NULL DEFAULT '',
    enabled boolean NOT NULL DEFAULT true,
    ha1_md5 text NOT NULL CHECK (ha1_md5 ~ '^[0-9a-f]{32}$'),
    ha1_sha256 text NOT NULL CHECK (ha1_sha256 ~ '^[0-9a-f]{64}$'),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (realm, username)
);

CREATE INDEX users_by_tenant ON users (tenant_id);

-- One row per call. The durations follow from the times, which the writer derives from a monotonic clock.
CREATE TABLE cdrs (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants,
    call text NOT NULL,
    caller text NOT NULL,
    dialled text NOT NULL,
    a_call_id text NOT NULL,
    b_call_id text,
    started_at timestamptz NOT NULL,
    ringing_at timestamptz,
    answered_at timestamptz,
    ended_at timestamptz NOT NULL,
    duration_ms bigint NOT NULL
        GENERATED ALWAYS AS ((extract(epoch FROM ended_at - started_at) * 1000)::bigint) STORED,
    billed_ms bigint NOT NULL
        GENERATED ALWAYS AS (coalesce((extract(epoch FROM ended_at - answered_at) * 1000)::bigint, 0)) STORED,
    status smallint NOT NULL,
    cause smallint NOT NULL,
    ended_by text NOT NULL CHECK (ended_by IN ('a', 'b', 'server')),
    reason text NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX cdrs_by_time ON cdrs (started_at DESC, id DESC);
CREATE INDEX cdrs_by_caller ON cdrs (caller, started_at DESC);
CREATE INDEX cdrs_by_dialled ON cdrs (dialled, started_at DESC);

-- The media of a call: one row per direction of each stream, named after the leg that sent it.
CREATE TABLE cdr_media (
    cdr_id uuid NOT NULL REFERENCES cdrs ON DELETE CASCADE,
    stream smallint NOT NULL,
    sender text NOT NULL CHECK (sender IN ('a', 'b')),
    codec text NOT NULL,
    path text NOT NULL CHECK (path IN ('kernel', 'engine')),
    packets bigint NOT NULL,
    bytes bigint NOT NULL,
    lost bigint NOT NULL,
    reordered bigint NOT NULL,
    duplicates bigint NOT NULL,
    jitter_ms double precision,
    largest_gap_ms double precision NOT NULL,
    PRIMARY KEY (cdr_id, stream, sender)
);

-- Who keeps users in memory listens on voxdp_users: {"realm":…,"username":…} for one, {} for all of them.
CREATE FUNCTION notify_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('voxdp_users', json_build_object('realm', OLD.realm, 'username', OLD.username)::text);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('voxdp_users', json_build_object('realm', NEW.realm, 'username', NEW.username)::text);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION notify_all_users() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('voxdp_users', '{}');
    RETURN NULL;
END
$$;

CREATE TRIGGER user_changed AFTER INSERT OR UPDATE OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION notify_user();
CREATE TRIGGER users_emptied AFTER TRUNCATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION notify_all_users();
CREATE TRIGGER tenants_changed AFTER INSERT OR UPDATE OR DELETE ON tenants
    FOR EACH STATEMENT EXECUTE FUNCTION notify_all_users();

-- SPDX-License-Identifier: GPL-3.0-or-later
-- Who may use the API: accounts, their sessions and keys, and requests that must not be done twice.

-- A password is stored as Argon2id, the secret of the second factor sealed, its recovery codes as SHA-256.
CREATE TABLE accounts (
    tenant_id bigint NOT NULL REFERENCES tenants,
    username text COLLATE "C" NOT NULL UNIQUE,
    display_name text NOT NULL,
    role text NOT NULL,
    password_hash text,
    oidc_subject text UNIQUE,
    enabled boolean NOT NULL,
    totp_secret text,
    totp_enabled boolean NOT NULL DEFAULT false,
    totp_step bigint NOT NULL DEFAULT 0,
    recovery_hashes text[] NOT NULL DEFAULT '{}',
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, username)
);

-- One row per login. A refresh token is used once; one that comes again ends the session, for it was stolen.
CREATE TABLE sessions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    username text NOT NULL REFERENCES accounts (username) ON DELETE CASCADE,
    refresh_hash text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);

CREATE INDEX sessions_by_account ON sessions (username);

-- Another password ends what was begun with the old one; the tenant that changes it may not see sessions.
CREATE FUNCTION end_sessions() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE sessions SET revoked_at = now() WHERE username = NEW.username AND revoked_at IS NULL;
    RETURN NULL;
END
$$;

CREATE TRIGGER password_changed AFTER UPDATE OF password_hash ON accounts
    FOR EACH ROW EXECUTE FUNCTION end_sessions();

CREATE TABLE api_keys (
    tenant_id bigint NOT NULL,
    id text COLLATE "C" NOT NULL UNIQUE,
    username text NOT NULL,
    description text NOT NULL,
    role text NOT NULL,
    key_hash text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, username) REFERENCES accounts ON DELETE CASCADE
);

-- The keys that sign access tokens: the newest signs, all verify. Sealed.
CREATE TABLE signing_keys (
    kid text PRIMARY KEY,
    private_key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The answers to requests with an Idempotency-Key, written in the transaction of what they did.
CREATE TABLE idempotency (
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    actor text NOT NULL,
    key text NOT NULL,
    fingerprint text NOT NULL,
    status integer,
    body text,
    headers jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, actor, key)
);

CREATE INDEX idempotency_by_time ON idempotency (created_at);

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['accounts', 'api_keys', 'idempotency']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY tenant ON %I TO voxdp_tenant USING (tenant_id = current_tenant()) '
            'WITH CHECK (tenant_id = current_tenant())', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO voxdp_tenant', t);
    END LOOP;
END
$$;

-- An import may bring users and the numbers they show at once.
ALTER TABLE users ALTER CONSTRAINT users_tenant_id_caller_number_fkey DEFERRABLE;

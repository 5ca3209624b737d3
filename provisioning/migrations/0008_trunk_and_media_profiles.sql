-- SPDX-License-Identifier: GPL-3.0-or-later
-- What trunks of the configuration can be told, those of the database can be too; and whose media takes which interface.

ALTER TABLE trunks
    ADD COLUMN digest_realm text NOT NULL DEFAULT '',
    ADD COLUMN expires_seconds integer NOT NULL DEFAULT 3600,
    ADD COLUMN probe_seconds integer NOT NULL DEFAULT 30,
    ADD COLUMN certificates jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN trusted boolean NOT NULL DEFAULT false,
    ADD COLUMN refer boolean NOT NULL DEFAULT false,
    ADD COLUMN from_user text,
    ADD COLUMN media text,
    ADD COLUMN latch boolean NOT NULL DEFAULT false;

ALTER TABLE users ADD COLUMN media text;
ALTER TABLE tenants ADD COLUMN media text;

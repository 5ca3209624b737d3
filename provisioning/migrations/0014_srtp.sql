-- SPDX-License-Identifier: GPL-3.0-or-later
-- Whether media of a tenant, or of one trunk, is protected; NULL: a trunk as its tenant, a tenant as with all others.

ALTER TABLE tenants ADD COLUMN srtp text CHECK (srtp IN ('off', 'preferred', 'required'));
ALTER TABLE trunks ADD COLUMN srtp text CHECK (srtp IN ('off', 'preferred', 'required'));

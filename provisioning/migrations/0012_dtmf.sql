-- SPDX-License-Identifier: GPL-3.0-or-later
-- How digits reach a trunk or a user's telephones.

ALTER TABLE trunks ADD COLUMN dtmf text NOT NULL DEFAULT 'auto' CHECK (dtmf IN ('auto', 'rfc4733', 'info', 'inband'));
ALTER TABLE users ADD COLUMN dtmf text NOT NULL DEFAULT 'auto' CHECK (dtmf IN ('auto', 'rfc4733', 'info', 'inband'));

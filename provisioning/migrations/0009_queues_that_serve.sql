-- SPDX-License-Identifier: GPL-3.0-or-later
-- What callers of a queue hear, who waits in it, and what their records say of that.

ALTER TABLE queues
    ADD COLUMN answer boolean NOT NULL DEFAULT true,
    ADD COLUMN music text NOT NULL DEFAULT 'tone/music',
    ADD COLUMN welcome text,
    ADD COLUMN position_prompts text,
    ADD COLUMN callback_digit text NOT NULL DEFAULT '1';

ALTER TABLE acd_callers
    ADD COLUMN caller text NOT NULL DEFAULT '';

ALTER TABLE cdrs
    ADD COLUMN queue text,
    ADD COLUMN waited_seconds double precision CHECK (waited_seconds >= 0),
    ADD COLUMN agent text,
    ADD COLUMN abandoned boolean NOT NULL DEFAULT false;

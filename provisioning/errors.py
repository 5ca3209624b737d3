# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong here. The text of each error is one line that names the remedy, fit to be shown as it is."""

from __future__ import annotations


class ProvisioningError(Exception):
    """Base of every error that this room raises on purpose."""


class DatabaseUnavailable(ProvisioningError):
    """PostgreSQL cannot be started or does not answer; trying again later may help."""


class MigrationError(ProvisioningError):
    """The schema and the migration files of this version do not fit together."""


class NotFound(ProvisioningError):
    """There is no such row."""


class AlreadyExists(ProvisioningError):
    """A row of that name is there already."""


class InvalidValue(ProvisioningError):
    """A value that must not be stored, such as a user name with a colon."""


class JournalError(ProvisioningError):
    """A call record could not be put on disk; it is not acknowledged."""


class JournalFull(JournalError):
    """The journal reached its bound, or the disk is full."""


class VaultError(ProvisioningError):
    """A secret cannot be sealed or opened, or there is no key to do so."""


class InUse(ProvisioningError):
    """Something else refers to it, so it cannot go."""


class UnknownReference(ProvisioningError):
    """It refers to something that is not there."""


class Changed(ProvisioningError):
    """Somebody else changed it since it was read."""


class AccessDenied(ProvisioningError):
    """Not who it says it is, or not any more. It does not say why: that would help only who should not get in."""


class SecondFactorMissing(ProvisioningError):
    """The password is right, and a code is needed."""


class KeyReused(ProvisioningError):
    """An Idempotency-Key came again with another request."""


class BackupError(ProvisioningError):
    """The database could not be written into a file, or restored from one."""

"""What is done to accounts."""

from __future__ import annotations

import logging

from apps.accounts.models import User

logger = logging.getLogger(__name__)


def change_own_password(*, actor: User, password: str) -> None:
    """Stores the new password of the person who acts. Their other sessions end with it: a session
    holds a hash of the password it began with."""
    actor.set_password(password)
    actor.save(update_fields=["password"])
    logger.info("user %s has a new password", actor.pk)

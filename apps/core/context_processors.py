"""What every page knows."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def frame(request: HttpRequest) -> dict[str, Any]:
    """Whether this is the instance that cannot write, which each page says at its top."""
    return {"read_only_instance": settings.READ_ONLY}

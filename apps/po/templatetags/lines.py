"""The badges of lines in templates."""

from __future__ import annotations

from django import template

from apps.po import badges

register = template.Library()

register.filter("status_badge", badges.status_badge)
register.filter("source_badge", badges.source_badge)
register.simple_tag(badges.unmapped_badge, name="unmapped_badge")

"""The database itself refuses to change or remove history (apps/audit/append_only.py)."""

from typing import Any

from django.db import migrations

from apps.audit import append_only


def install(apps: Any, schema_editor: Any) -> None:
    append_only.install(schema_editor)


def remove(apps: Any, schema_editor: Any) -> None:
    append_only.remove(schema_editor)


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [migrations.RunPython(install, remove)]

"""The walls of the code, as assertions: who may import whom, and what each layer may not do.

Every rule of tests/walls.py is first shown an example that breaks it, so that a rule which finds
nothing is known to look.
"""

from __future__ import annotations

import io
import json
import re
import tokenize
from collections.abc import Sequence

import pytest
from django.db import models
from django.utils import timezone

from apps.batches.models import Batch
from apps.ingestion import pipeline
from apps.ingestion.erp.fields import LENGTHS, LINE_FIELDS
from apps.ingestion.models import (
    ERPReceipt,
    ERPSnapshot,
    IngestionRun,
    ReceiptSnapshot,
    RejectedRow,
    XrefEntry,
    XrefGap,
)
from apps.ingestion.report import Report
from apps.po.models import (
    APPLICATION_OWNED_FIELDS,
    COMPUTED_FIELDS,
    CUSTOM_SLOTS,
    DERIVED_FIELDS,
    ERP_OWNED_FIELDS,
    POLine,
    Supplier,
)
from tests.walls import (
    DEMO,
    LAYERS,
    ROOT,
    TOP,
    Module,
    Rule,
    an_actor_is_somebody,
    counts_queries_in_a_with,
    imports_only_downward,
    imports_what_is_installed,
    ingestion_knows_no_http,
    knows_no_signals,
    leaves_history_to_the_audit_app,
    leaves_the_erp_to_its_border,
    models_know_no_workflow,
    modules,
    names_apps_only_in_imports,
    product,
    querysets_only_read,
    services_see_no_request,
    services_that_write_name_their_actor,
    stands_where_it_is_looked_for,
    uses_nothing_that_sql_server_lacks,
    views_leave_work_to_others,
    views_scope_what_they_read,
)

Example = tuple[Rule, str, str]  # a rule, a path, and a source that stands there

# Examples that break a rule.
PRODUCT_RULES: list[Example] = [
    (imports_only_downward, "apps/po/views.py", "from apps.ingestion.models import IngestionRun"),
    (imports_only_downward, "apps/core/bulk.py", "def f():\n    import apps.po.models"),
    (imports_only_downward, "apps/exports/services.py", "from apps.admin_portal import views"),
    (imports_only_downward, "apps/po/models.py", "from ..batches.models import Batch"),
    (imports_only_downward, "apps/ingestion/xref.py", "from apps.demo.world import World"),
    (imports_only_downward, "po_tracking/urls.py", "from apps.demo import world"),
    (imports_what_is_installed, "apps/po/models.py", "from django_stubs_ext import StrOrPromise"),
    (imports_what_is_installed, "apps/po/models.py", "import psycopg"),
    (imports_what_is_installed, "apps/po/models.py", "def f():\n    import faker"),
    (
        names_apps_only_in_imports,
        "apps/po/models.py",
        "apps.get_model('ingestion', 'IngestionRun')",
    ),
    (knows_no_signals, "apps/po/apps.py", "from django.db.models.signals import post_save"),
    (knows_no_signals, "apps/po/apps.py", "from django.db.models import signals"),
    (knows_no_signals, "apps/po/models.py", "import django.dispatch"),
    (leaves_the_erp_to_its_border, "apps/ingestion/xref.py", "connections['erp'].cursor()"),
    (leaves_the_erp_to_its_border, "apps/po/views.py", "Row.objects.using('erp').all()"),
    (leaves_the_erp_to_its_border, "apps/po/views.py", "transaction.atomic(using='erp')"),
    (
        leaves_the_erp_to_its_border,
        "apps/ingestion/pipeline.py",
        "from apps.ingestion.erp.router import ERP_ALIAS",
    ),
    (ingestion_knows_no_http, "apps/ingestion/report.py", "from django.http import JsonResponse"),
    (ingestion_knows_no_http, "apps/ingestion/report.py", "def f(request): ..."),
    (services_see_no_request, "apps/po/services.py", "def f(*, request): ..."),
    (services_see_no_request, "apps/po/services.py", "def f(context): return context.request"),
    (services_see_no_request, "apps/po/services/edit.py", "from django.shortcuts import render"),
    (services_see_no_request, "apps/po/services.py", "from apps.po.forms import EditForm"),
    (views_leave_work_to_others, "apps/po/views.py", "def f(line): line.save()"),
    (views_leave_work_to_others, "apps/po/views.py", "from django.db import transaction"),
    (views_leave_work_to_others, "apps/po/views/edit.py", "from apps.audit import services"),
    (views_scope_what_they_read, "apps/po/views.py", "POLine.objects.filter(pk=1)"),
    (views_scope_what_they_read, "apps/po/views.py", "get_object_or_404(POLine, pk=1)"),
    (leaves_history_to_the_audit_app, "apps/po/services.py", "AuditEvent(reason='x').save()"),
    (
        leaves_history_to_the_audit_app,
        "apps/po/services.py",
        "AuditEvent.objects.create(reason='x')",
    ),
    (
        leaves_history_to_the_audit_app,
        "apps/po/services.py",
        "m.ERPChangeEvent.objects.bulk_create(x)",
    ),
    (
        leaves_history_to_the_audit_app,
        "apps/po/services.py",
        "line.audit_events.create(reason='x')",
    ),
    (leaves_history_to_the_audit_app, "apps/po/services.py", "insert_rows(AuditEvent, (), rows)"),
    (
        leaves_history_to_the_audit_app,
        "apps/po/services.py",
        "from apps.audit.models import AuditEvent as E\nE.objects.create()",
    ),
    (querysets_only_read, "apps/po/querysets.py", "def f(self): self.update(status='x')"),
    (models_know_no_workflow, "apps/po/models.py", "from apps.batches import services"),
    (models_know_no_workflow, "apps/po/forms.py", "from apps.po.services import edit"),
    (services_that_write_name_their_actor, "apps/po/services.py", "def f(*, line): line.save()"),
    (
        services_that_write_name_their_actor,
        "apps/po/services.py",
        "def f(*, line, actor=None): _g(line)\ndef _g(line): line.save()",
    ),
    (services_that_write_name_their_actor, "apps/po/services.py", "def f(actor): x.delete()"),
    (
        services_that_write_name_their_actor,
        "apps/ingestion/retention.py",
        "def f(*, keep): x.delete()",
    ),
    (an_actor_is_somebody, "apps/po/services.py", "def f(*, actor: Actor | None): ..."),
    (an_actor_is_somebody, "apps/po/services.py", "def f(line, actor=SYSTEM): ..."),
    (
        uses_nothing_that_sql_server_lacks,
        "apps/po/services.py",
        "X.objects.bulk_create(rows, ignore_conflicts=True)",
    ),
    (uses_nothing_that_sql_server_lacks, "apps/po/views.py", "lines.filter(code__regex='a')"),
    (uses_nothing_that_sql_server_lacks, "apps/po/views.py", "F('a').asc(nulls_last=True)"),
    (uses_nothing_that_sql_server_lacks, "apps/po/views.py", "lines.distinct('po_number')"),
    (stands_where_it_is_looked_for, "apps/po/helpers.py", ""),
    (stands_where_it_is_looked_for, "apps/po/utils/text.py", ""),
    (stands_where_it_is_looked_for, "apps/ingestion/erp/views.py", ""),
    (stands_where_it_is_looked_for, "apps/unheard_of/models.py", ""),
]
TEST_RULES: list[Example] = [
    (counts_queries_in_a_with, "apps/po/tests/test_views.py", "self.assertNumQueries(3)"),
    (counts_queries_in_a_with, "tests/test_x.py", "def f(): django_assert_num_queries(3)"),
]
RULES = PRODUCT_RULES + TEST_RULES

# Examples that keep one.
FINE: list[Example] = [
    (imports_only_downward, "apps/exports/views.py", "from apps.ingestion.models import FieldSet"),
    (imports_only_downward, "apps/po/querysets.py", "from apps.po.models import POLine"),
    (imports_what_is_installed, "apps/po/models.py", "import os, rich.table, django_htmx"),
    (imports_what_is_installed, "apps/po/models.py", "def f():\n    import psycopg"),
    (imports_what_is_installed, "apps/ingestion/erp/postgresql.py", "import psycopg"),
    (imports_what_is_installed, "apps/po/models.py", "from .models import POLine"),
    (leaves_the_erp_to_its_border, "apps/ingestion/custom_columns.py", "BY_ERP = 'erp'"),
    (views_scope_what_they_read, "apps/po/views.py", "POLine.objects.for_user(user).filter(pk=1)"),
    (
        views_scope_what_they_read,
        "apps/po/views.py",
        "get_object_or_404(P.objects.for_user(u), pk=1)",
    ),
    (leaves_history_to_the_audit_app, "apps/po/views.py", "AuditEvent.objects.for_user(user)"),
    (querysets_only_read, "apps/audit/querysets.py", "def f(self): super().bulk_create([])"),
    (services_that_write_name_their_actor, "apps/po/services.py", "def f(*, actor): x.save()"),
    (
        services_that_write_name_their_actor,
        "apps/po/services.py",
        "def f(lines): return lines.first()",
    ),
    (stands_where_it_is_looked_for, "apps/po/views/detail.py", ""),
    (stands_where_it_is_looked_for, "apps/po/management/commands/anything.py", ""),
    (counts_queries_in_a_with, "tests/test_x.py", "with self.assertNumQueries(3):\n    f()"),
]


def _named(examples: Sequence[Example]) -> list[str]:
    return [f"{rule.__name__}: {source or path}" for rule, path, source in examples]


@pytest.mark.parametrize(("rule", "path", "source"), RULES, ids=_named(RULES))
def test_each_rule_sees_what_breaks_it(rule: Rule, path: str, source: str) -> None:
    assert rule(Module(path, source))


@pytest.mark.parametrize(("rule", "path", "source"), FINE, ids=_named(FINE))
def test_each_rule_lets_pass_what_keeps_it(rule: Rule, path: str, source: str) -> None:
    assert rule(Module(path, source)) == []


def _rules(examples: Sequence[Example]) -> list[Rule]:
    return list(dict.fromkeys(rule for rule, _, _ in examples))


@pytest.mark.parametrize("rule", _rules(PRODUCT_RULES), ids=lambda rule: rule.__name__)
def test_the_product_keeps_the_rule(rule: Rule) -> None:
    found = [f"{module.path} {what}" for module in product() for what in rule(module)]
    assert not found, f"{rule.__doc__}\n" + "\n".join(found)


def test_the_demo_needs_no_more_than_it_installs() -> None:
    demo = [module for module in modules(f"apps/{DEMO}") if not module.is_test]
    assert demo
    assert [found for module in demo for found in imports_what_is_installed(module)] == []


@pytest.mark.parametrize("rule", _rules(TEST_RULES), ids=lambda rule: rule.__name__)
def test_the_tests_keep_the_rule(rule: Rule) -> None:
    tests = [module for module in modules("apps", "tests", "benchmarks") if module.is_test]
    found = [f"{module.path} {what}" for module in tests for what in rule(module)]
    assert not found, f"{rule.__doc__}\n" + "\n".join(found)


def test_every_app_has_its_place_among_the_layers() -> None:
    found = {path.parent.name for path in (ROOT / "apps").glob("*/__init__.py")}
    assert found <= {*LAYERS, *TOP, DEMO}
    assert {*LAYERS} <= {module.app for module in product()} <= {*LAYERS, *TOP, ""}


# --- the whole ------------------------------------------------------------------------------------


def test_nothing_is_left_to_be_done_later() -> None:
    later = re.compile(r"\b(TO" r"DO|FIX" r"ME)\b")
    folders = ("apps", "po_tracking", "tests", "benchmarks", "docs", "scripts", "templates")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.*")]
    files += [path for path in ROOT.glob("*") if path.suffix in {".py", ".md", ".toml"}]
    texts = {".py", ".md", ".toml", ".bat", ".sh", ".sql", ".html", ".txt", ".service", ".config"}
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        if path.suffix in texts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if later.search(line)
    ]
    assert not found


def test_whatever_is_ignored_is_ignored_for_a_reason() -> None:
    ignored = re.compile(r"#\s*(noqa|type: ignore)\b")
    explained = re.compile(r"#\s*(noqa: [A-Z0-9, ]+?|type: ignore\[[a-z, -]+\])\s+# \w")
    found = [
        f"{module.path}:{token.start[0]}"
        for module in modules("apps", "po_tracking", "tests", "benchmarks")
        for token in tokenize.generate_tokens(io.StringIO(module.source).readline)
        if token.type == tokenize.COMMENT
        and ignored.match(token.string)
        and not explained.match(token.string)
    ]
    assert not found


def test_the_stages_of_a_run_stand_in_their_order() -> None:
    assert pipeline.STAGES == ("snapshot", "xref", "diff", "batches", "custom_columns", "report")


# --- who owns which field of a line ---------------------------------------------------------------

KEY_FIELDS = ("id", "po_number", "line_number", "generation")
# Moved by the ERP and by people, by the rules of apps/po/lifecycle.py.
SHARED_FIELDS = ("status",)
# What ingestion keeps in order to know next night what it did tonight.
INGESTION_MARKS = (
    "custom_sources",
    "custom_erp_values",
    "presence",
    "previous_presence",
    "presence_since",
    "first_seen_at",
    "first_run",
    "presence_run",
    "last_run",
    "receipts_known",
    "row_hash",
    "custom_hash",
    "field_set",
    "custom_field_set",
)


def test_every_field_of_a_line_has_exactly_one_owner() -> None:
    # The ERP knows its suppliers by code, the line points at ours.
    erp_owned = ["supplier" if name == "supplier_code" else name for name in ERP_OWNED_FIELDS]
    owned = [
        *KEY_FIELDS,
        *erp_owned,
        *DERIVED_FIELDS,
        *COMPUTED_FIELDS,
        *SHARED_FIELDS,
        *APPLICATION_OWNED_FIELDS,
        *CUSTOM_SLOTS,
        *INGESTION_MARKS,
    ]
    assert sorted(owned) == sorted(field.name for field in POLine._meta.concrete_fields)


def test_the_mapping_feeds_exactly_the_fields_that_the_erp_owns() -> None:
    assert tuple(field for field, _ in LINE_FIELDS.values()) == ERP_OWNED_FIELDS


COLUMNS: dict[str, list[tuple[type[models.Model], str]]] = {
    "po_number": [
        (POLine, "po_number"),
        (ERPSnapshot, "po_number"),
        (ReceiptSnapshot, "po_number"),
        (RejectedRow, "po_number"),
    ],
    "line_number": [
        (POLine, "line_number"),
        (ERPSnapshot, "line_number"),
        (ReceiptSnapshot, "line_number"),
        (RejectedRow, "line_number"),
    ],
    "supplier_code": [(Supplier, "code")],
    "item_code": [
        (POLine, "erp_item_code"),
        (XrefEntry, "erp_item_code"),
        (XrefGap, "erp_item_code"),
    ],
    "status": [(POLine, "erp_status")],
    "item": [(POLine, "erp_item"), (POLine, "item"), (XrefEntry, "item")],
    "final_customer": [(POLine, "final_customer")],
    "sku": [(POLine, "erp_sku"), (POLine, "sku"), (XrefEntry, "sku")],
    "supplier_name": [(Supplier, "name")],
    "receipt_id": [
        (ReceiptSnapshot, "receipt_id"),
        (ERPReceipt, "receipt_id"),
        (RejectedRow, "receipt_id"),
        (Batch, "receipt_id"),
    ],
}


@pytest.mark.parametrize("name", LENGTHS)
def test_a_text_that_the_reader_lets_through_fits_every_column_it_goes_to(name: str) -> None:
    widths = {}
    for model, field in COLUMNS[name]:
        column = model._meta.get_field(field)
        assert isinstance(column, models.CharField)
        widths[f"{model.__name__}.{field}"] = column.max_length
    assert widths == dict.fromkeys(widths, LENGTHS[name])


# --- the report -----------------------------------------------------------------------------------

REPORT_KEYS = (
    "run_identifier",
    "mode",
    "status",
    "started_at",
    "finished_at",
    "duration_seconds",
    "stage_seconds",
    "po_lines_processed",
    "new_lines_created",
    "lines_changed",
    "change_events_detected",
    "lines_left",
    "lines_returned",
    "batches_reconstructed",
    "custom_columns_populated",
    "xref_gaps_found",
    "unmapped_item_codes",
    "rejected_rows",
    "erp_attempts",
    "errors_encountered",
)


def test_the_report_has_exactly_the_promised_keys_in_their_order() -> None:
    now = timezone.now()
    report = Report.of(IngestionRun(started_at=now, finished_at=now))
    assert tuple(json.loads(report.as_json())) == REPORT_KEYS
    assert tuple(report.as_dict()) == REPORT_KEYS


def test_the_documentation_explains_every_key_of_the_report() -> None:
    text = (ROOT / "docs" / "ingestion.md").read_text(encoding="utf-8")
    assert [key for key in REPORT_KEYS if f"`{key}`" not in text] == []

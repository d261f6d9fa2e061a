"""Would a run work? Looks at everything that a run needs and changes nothing.

It goes on after a problem as long as the next question still means something.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db import Error as AnyDatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count

from apps.core.bulk import chunks
from apps.core.clock import business_today
from apps.core.redaction import first_line
from apps.ingestion.context import NoProgress, Progress
from apps.ingestion.custom_columns import erp_fed_slots
from apps.ingestion.erp import preflight, rights
from apps.ingestion.erp.fields import LENGTHS, LINE_FIELDS
from apps.ingestion.erp.guard import read_only
from apps.ingestion.erp.mapping import Column, ErpMapping, MappingError, Relation, load_mapping
from apps.ingestion.erp.reader import ErpReader, explained
from apps.ingestion.erp.rows import ReceiptReader, Rejection, Row, RowReader
from apps.ingestion.erp.values import Canonical, UnreadableError, text
from apps.ingestion.erp_check_result import (
    CheckResult,
    ConnectionFacts,
    LineFacts,
    MappedColumn,
    ReceiptFacts,
    RejectedExample,
    SampleLine,
    StatusCode,
    UnmappedCode,
)
from apps.ingestion.errors import ErpError, Notice, RunActiveError
from apps.ingestion.lease import Lease
from apps.ingestion.models import APPLIED, ERPReceipt, FieldSet, IngestionRun
from apps.ingestion.snapshot_rows import aged_before, is_aged
from apps.ingestion.trouble import explain_unexpected
from apps.ingestion.xref import Xref
from apps.po.lifecycle import first_status
from apps.po.models import POLine, Presence, Supplier

_REASONS_SHOWN = 3
# The sample is taken from so many lines, its parts far from each other: neighbours look alike.
_SAMPLED_FROM = 1_000
# Below so many known receipts a run believes a relation that has emptied.
_RECEIPTS_THAT_PROVE = 20
_KEYS_AT_ONCE = 400

_Key = tuple[str, str]  # PO number, line number

_read_code = text(LENGTHS["status"])


def check(progress: Progress | None = None) -> CheckResult:
    """Connects once, without retries, reads every active line once, and tells what it found."""
    return _Check(progress or NoProgress()).run()


class _Check:
    """One check on its way; what it finds goes into `result`."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.result = CheckResult()
        # What the application knows; nothing while its database cannot be used.
        self.xref = Xref([])
        self.slots: dict[str, str] = {}
        self.lines_before = 0

    def run(self) -> CheckResult:
        self._look_at_application()
        mapping = self._load_mapping()
        connection = self._connect()
        if connection is not None:
            try:
                self._look_at_erp(connection, mapping)
            except ErpError as error:
                self._problem("erp", error.message, error.remedy)
            finally:
                connection.close()
        self.result.would_run = not self.result.problems
        return self.result

    # --- the application --------------------------------------------------------------------

    def _look_at_application(self) -> None:
        facts = self.result.application
        connection = connections[DEFAULT_DB_ALIAS]
        try:
            connection.ensure_connection()
            executor = MigrationExecutor(connection)
            facts.reachable = True
            pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
            facts.migrated = not pending
            if pending:
                self._problem(
                    "application",
                    f"{len(pending)} migration(s) of the application's database are not applied.",
                    "Run manage.py migrate, then check_erp again.",
                )
                return
            self._load_what_is_known()
            facts.writable = self._is_writable()
        except AnyDatabaseError as error:  # a missing driver is no DatabaseError
            facts.reachable = facts.reachable and facts.migrated is not None
            facts.writable = False if facts.migrated else None
            self._problem(
                "application",
                f"The application's database cannot be used: {first_line(error)}",
                explain_unexpected("application", error).remedy,
            )

    def _load_what_is_known(self) -> None:
        self.xref = Xref.load()
        self.slots = erp_fed_slots()
        self.lines_before = POLine.objects.filter(presence=Presence.PRESENT).count()
        last = IngestionRun.objects.filter(status__in=APPLIED).order_by("-pk").first()
        self.result.application.last_applied_run = str(last.run_date) if last else None

    def _is_writable(self) -> bool | None:
        """Writes a row and takes it back. None while a run is active: it may write for long."""
        try:
            Lease.ensure_free()
        except RunActiveError as error:
            self._warning("application", error.message, "A further run starts when it has ended.")
            return None
        with transaction.atomic():
            FieldSet.objects.create(digest="check_erp", fields={})
            transaction.set_rollback(True)
        return True

    # --- mapping and connection -------------------------------------------------------------

    def _load_mapping(self) -> ErpMapping | None:
        """The mapping, or as much of it as could be read."""
        self.result.mapping_file = settings.ERP_MAPPING_FILE or None
        try:
            return load_mapping()
        except MappingError as error:
            for problem in error.problems:
                self._problem("mapping", problem, "Correct the mapping file (docs/erp-mapping.md).")
            return error.partial
        except ErpError as error:
            self._problem("mapping", error.message, error.remedy)
            return None

    def _connect(self) -> BaseDatabaseWrapper | None:
        facts = ConnectionFacts()
        self.result.connection = facts if preflight.has_erp() else None
        started = time.perf_counter()
        try:
            connection = preflight.connect()
            facts.ok = True
            return connection
        except ErpError as error:
            self._problem("connection", error.message, error.remedy)
            return None
        finally:
            facts.milliseconds = round((time.perf_counter() - started) * 1000)

    # --- the ERP ----------------------------------------------------------------------------

    def _look_at_erp(self, connection: BaseDatabaseWrapper, mapping: ErpMapping | None) -> None:
        """Catalogue and rights first, each statement for itself; then the rows, in one view."""
        facts = self.result.connection
        assert facts is not None
        with connection.execute_wrapper(read_only):
            server = preflight.server_of(connection)
            facts.server, facts.address, facts.login = server.product, server.address, server.login
            moving = mapping and preflight.databases_with_moving_reads(connection, mapping)
            if moving:
                self._warning(
                    "connection",
                    "The ERP's database has no row versioning: rows may move while they are read.",
                    "Ask the ERP's administrator for ALLOW_SNAPSHOT_ISOLATION in "
                    f"{', '.join(moving)}. Until then the look-ups of a run repair what a moving "
                    "read missed.",
                )
            if mapping is None:
                return
            fits = self._compare_columns(connection, mapping)
            if fits:
                self._judge_login(connection, mapping)
        if fits and not any(notice.stage == "mapping" for notice in self.result.problems):
            self._read_rows(mapping)

    def _compare_columns(self, connection: BaseDatabaseWrapper, mapping: ErpMapping) -> bool:
        slots = {slot: Column.parse(path, mapping.lines.joins) for slot, path in self.slots.items()}
        found = preflight.examine(mapping, slots, connection)
        for problem in found.problems:
            self._problem("columns", problem, "Correct the mapping file (docs/erp-mapping.md).")
        columns = self.result.columns

        def told(relation: Relation, field: str, source: Iterable[Column], text: str) -> None:
            types = [found.type_of(relation, column) for column in source]
            columns.append(
                MappedColumn(
                    relation.section,
                    field,
                    text,
                    None if None in types else " - ".join(filter(None, types)),
                )
            )

        for relation in mapping.relations:
            for field, source in relation.fields.items():
                told(relation, field, source.columns, str(source))
            if relation.section == "lines":
                for slot, column in slots.items():
                    told(relation, slot, [column], str(column))
        return not found.problems

    def _judge_login(self, connection: BaseDatabaseWrapper, mapping: ErpMapping) -> None:
        proof = rights.write_proof(mapping, connection)
        read_only_facts = self.result.read_only
        read_only_facts.login_can_write = proof.can_write
        read_only_facts.statement = proof.statement
        if proof.can_write is False:
            return
        error = rights.unproven_login(proof)
        if settings.ERP_ALLOW_WRITABLE_LOGIN:
            self._warning("login", error.message, "Allowed by ERP_ALLOW_WRITABLE_LOGIN.")
        else:
            self._problem("login", error.message, error.remedy)

    def _read_rows(self, mapping: ErpMapping) -> None:
        reader = ErpReader(mapping, self.slots)
        with reader.reading():
            self._count_codes(reader)
            started = time.perf_counter()
            lines = _Lines(mapping, self.xref)
            rows = RowReader(reader)
            for raw_rows in reader.active_rows():
                for raw in raw_rows:
                    lines.add(rows.read(raw))
                self.progress.rows(lines.read, self.lines_before)
            lines.settle()
            self.result.lines = LineFacts(
                active=lines.accepted,
                closed=sum(code.lines for code in self.result.status_codes if code.closed),
                aged_out=len(lines.aged),
                rejected=lines.rejected,
                duplicates=lines.duplicates,
                suppliers=len(lines.suppliers),
                item_codes=len(lines.codes),
                seconds=round(time.perf_counter() - started, 2),
            )
            self.result.rejections = lines.reasons
            self._judge_lines(lines)
            self._judge_application(lines)
            self._take_sample(mapping, lines)
            self._read_receipts(reader)

    def _count_codes(self, reader: ErpReader) -> None:
        """How many lines have which status code, whatever the engine thinks of blanks and case."""
        status = reader.mapping.lines.fields["status"].column
        with explained():
            counted = list(reader.lines.select([status]).annotate(lines=Count("*")))
        found: Counter[str] = Counter()
        for raw, lines in counted:
            found[_canonical_code(raw)] += lines
        mapping = reader.mapping
        for code in sorted({*found, *mapping.status_map}, key=lambda code: (len(code), code)):
            meaning = mapping.meaning(code)
            self.result.status_codes.append(
                StatusCode(
                    code, found[code], meaning and meaning.value, code in mapping.closed_statuses
                )
            )
            if meaning is None:
                self._warning(
                    "mapping",
                    f'The status code "{code}" of {found[code]:,} line(s) is not in the mapping: '
                    "they count as active, and the code moves nothing.",
                    "Add the code to [lines.status_map] of the mapping file.",
                )

    def _judge_lines(self, lines: _Lines) -> None:
        """What the guard would say, and what a run would warn about (rules.md "Guard")."""
        allowed = settings.INGESTION_MAX_REJECTED_SHARE
        read = lines.accepted + lines.rejected
        if not read:
            self._problem(
                "lines",
                "The ERP shows no active line at all; a run would be refused.",
                "Compare [lines.active] and the status codes with the ERP.",
            )
        elif lines.rejected > allowed * read:
            self._problem(
                "lines",
                f"{lines.rejected:,} of {read:,} rows cannot be used, more than the allowed "
                f"{allowed:.0%}; a run would be refused.",
                "Correct the mapping, or let the ERP's users correct these rows.",
            )
        elif lines.rejected:
            self._warning(
                "lines",
                f"{lines.rejected:,} of {read:,} rows cannot be used; a run would be partial.",
                "Let the ERP's users correct these rows; their lines keep their state until then.",
            )
        if lines.duplicates:
            self._warning(
                "lines",
                f"{lines.duplicates:,} row(s) stand in the ERP more than once; each counts once.",
                "Tell the ERP's administrator, or correct a join of the mapping.",
            )
        for slot, count in sorted(lines.unreadable_custom.items()):
            self._warning(
                "custom columns",
                f"{slot}: the value of {count:,} line(s) cannot be read; the old values stay.",
                "Correct the values in the ERP, or feed a text slot from this column.",
            )

    def _judge_application(self, lines: _Lines) -> None:
        """What the lines mean beside those that the application knows already."""
        result = self.result
        assert result.lines is not None
        if not result.application.migrated:
            return
        known = set(Supplier.objects.values_list("code", flat=True))
        result.lines.new_suppliers = len(lines.suppliers - known)
        result.lines.unmapped_item_codes = len(lines.unmapped)
        result.unmapped_item_codes = [
            UnmappedCode(supplier, code, count)
            for (supplier, code), count in sorted(
                lines.unmapped.items(), key=lambda entry: (-entry[1], entry[0])
            )
        ]
        before = self.lines_before - _count_present(lines.aged)
        allowed = settings.INGESTION_MAX_DROP_SHARE
        if before - lines.accepted > allowed * before:
            self._problem(
                "lines",
                f"The ERP shows {lines.accepted:,} active lines, but {before:,} were active "
                f"before: a fall of more than the allowed {allowed:.0%}; a run would be refused.",
                "If the ERP is right, run once with --accept-drop.",
            )

    def _take_sample(self, mapping: ErpMapping, lines: _Lines) -> None:
        """Lines by the mapping's names, and what PO Tracking makes of them."""
        for row in lines.sample():
            values = row.parsed()
            stored: dict[str, Canonical] = {
                "po_number": row.po_number,
                "line_number": row.line_number,
            }
            for name in mapping.lines.fields:
                if name not in stored:
                    stored[name] = values[LINE_FIELDS[name][0] if name in LINE_FIELDS else name]
            stored |= {slot: values.get(slot) for slot in self.slots}
            from_xref = self.xref.derive(
                row.supplier_code,
                row.erp_item_code,
                values.get("erp_sku") or "",
                values.get("erp_item") or "",
            )
            status = first_status(
                mapped=mapping.meaning(row.erp_status),
                ordered=Decimal(stored["ordered_quantity"] or 0),
                delivered=Decimal(stored["delivered_quantity"] or 0),
            )
            derived = {"sku": from_xref.sku, "item": from_xref.item, "status": status.value}
            self.result.sample.append(SampleLine(stored, derived))

    def _read_receipts(self, reader: ErpReader) -> None:
        if reader.mapping.deliveries is None:
            return
        receipts = ReceiptReader(reader.mapping, reader.delivery_columns)
        ids: set[str | None] = set()
        rejected = 0
        for raw_rows in reader.receipts():
            for raw in raw_rows:
                receipt = receipts.read(raw)
                if isinstance(receipt, Rejection):
                    rejected += 1
                    if rejected <= _REASONS_SHOWN:
                        self.result.rejections.append(_example(receipt))
                else:
                    ids.add(receipt["receipt_id"])
        self.result.receipts = ReceiptFacts(reader.mapping.deliveries.table, len(ids), rejected)
        if rejected:
            self._warning(
                "receipts",
                f"{rejected:,} receipt(s) cannot be used; a run would be partial.",
                "Let the ERP's users correct them, or correct [deliveries] of the mapping.",
            )
        if ids or not self.result.application.migrated:
            return
        known = ERPReceipt.objects.filter(po_line__presence=Presence.PRESENT).exclude(quantity=0)
        if known.count() >= _RECEIPTS_THAT_PROVE:
            self._problem(
                "receipts",
                f"The ERP shows no receipt, but {known.count():,} of the active lines were known "
                "before; a run would be refused.",
                "If the ERP is right, run once with --accept-drop.",
            )

    def _problem(self, about: str, message: str, remedy: str) -> None:
        self.result.problems.append(Notice(about, message, remedy))

    def _warning(self, about: str, message: str, remedy: str) -> None:
        self.result.warnings.append(Notice(about, message, remedy))


class _Lines:
    """The extract as it streams by, judged by the rules of the run (rules.md "Reading")."""

    def __init__(self, mapping: ErpMapping, xref: Xref) -> None:
        self._mapping = mapping
        self._xref = xref
        self._aged_before = aged_before(mapping, business_today())
        # Key -> what its first row said; kept to find rows that say otherwise.
        self._seen: dict[_Key, str] = {}
        self._repeated: Counter[_Key] = Counter()
        self._conflicting: set[_Key] = set()
        self._unreadable: set[_Key] = set()
        self.read = 0
        self.accepted = 0
        self.rejected = 0
        self.duplicates = 0
        self.reasons: list[RejectedExample] = []
        self.aged: set[_Key] = set()
        self._first: list[Row] = []
        self.suppliers: set[str] = set()
        self.codes: set[tuple[str, str]] = set()
        self.unmapped: Counter[tuple[str, str]] = Counter()
        self.unreadable_custom: Counter[str] = Counter()

    def add(self, row: Row | Rejection) -> None:
        """Takes the next row in."""
        self.read += 1
        key = row.po_number, row.line_number
        if isinstance(row, Rejection):
            self._unreadable.add(key)
            self._reject(key, row.reason)
            return
        if row.erp_status in self._mapping.closed_statuses:
            return  # looked like an active one to the ERP's engine only
        said = f"{row.row_hash}{row.custom_hash}{row.supplier_name}"
        if key in self._seen:
            self._repeated[key] += 1
            if self._seen[key] != said:
                self._conflicting.add(key)
            return
        self._seen[key] = said
        if self._aged_before and is_aged(row, self._aged_before):
            self.aged.add(key)
            return
        self.accepted += 1
        self._take_in(row)

    def settle(self) -> None:
        """After the last row: keys with several rows count once or are rejected."""
        self._conflicting |= self._unreadable & self._seen.keys()
        for key in sorted(self._conflicting):
            if key in self.aged:
                self.aged.discard(key)
            else:
                self.accepted -= 1
            for _ in range(1 + self._repeated.pop(key, 0)):
                self._reject(key, "several rows have this key and differ")
        self.duplicates = self._repeated.total()

    def sample(self) -> list[Row]:
        """Three lines at most."""
        positions = {0, len(self._first) // 2, len(self._first) - 1}
        return [self._first[i] for i in sorted(positions)] if self._first else []

    def _take_in(self, row: Row) -> None:
        self.suppliers.add(row.supplier_code)
        pair = row.supplier_code, row.erp_item_code
        self.codes.add(pair)
        if not self._xref.is_mapped(*pair):
            self.unmapped[pair] += 1
        self.unreadable_custom.update(row.unreadable_slots)
        if len(self._first) < _SAMPLED_FROM:
            self._first.append(row)

    def _reject(self, key: _Key, reason: str) -> None:
        self.rejected += 1
        if len(self.reasons) < _REASONS_SHOWN:
            self.reasons.append(RejectedExample(*key, reason))


def _example(rejection: Rejection) -> RejectedExample:
    return RejectedExample(rejection.po_number, rejection.line_number, rejection.reason)


def _canonical_code(raw: object) -> str:
    """The code as rows have it; one that no row could have is shown as it is."""
    try:
        return _read_code(raw) or ""
    except UnreadableError:
        return str(raw)


def _count_present(keys: set[_Key]) -> int:
    """How many of the keys belong to lines that are active as far as the application knows."""
    present = 0
    for some in map(set, chunks(sorted(keys), _KEYS_AT_ONCE)):
        lines = POLine.objects.filter(
            presence=Presence.PRESENT, po_number__in={po_number for po_number, _ in some}
        )
        present += sum(key in some for key in lines.values_list("po_number", "line_number"))
    return present

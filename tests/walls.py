"""The walls between apps and layers: rules that read the project's own code.

Each rule takes one module and returns what it finds wrong there (tests/test_architecture.py).
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

from django.conf import settings

ROOT: Path = settings.BASE_DIR

# Each app may import those before it, the last two all of them but each other. `demo` stands
# aside: it is there for development and tests only, and imported by these only.
LAYERS = ("core", "accounts", "audit", "po", "batches", "ingestion", "operations")
TOP = ("admin_portal", "exports")
DEMO = "demo"

# The same file names in every app ...
EVERYWHERE = "__init__ apps models querysets services filters columns forms views urls"
# ... and what only one app has, because nobody else needs it.
OWN_FILES = {
    "core": (
        "checks clock context_processors database_errors decorators fields htmx logs middleware "
        "redaction roles words"
    ),
    "core/management": "",
    "core/bulk": "postgresql sqlite sqlserver target",
    "accounts": "backends scope",
    "accounts/axes": "",  # the tables of django-axes, in one migration
    "audit": "append_only",
    "po": (
        "badges business_days cells custom_values head history labels lifecycle list_page "
        "list_state movement paging presets quantities thresholds timeline"
    ),
    "po/views": "custom_value detail lines start",
    "batches": "allocation lifecycle totals",
    "ingestion": (
        "pipeline context lease errors trouble snapshot snapshot_rows duplicates plausibility "
        "xref suppliers diff_engine "
        "batch_reconstruction custom_columns line_events report erp_check erp_check_result "
        "xref_file xref_import history retention context_processors"
    ),
    "ingestion/erp": (
        "faults fields guard mapping models places postgresql preflight reader rights router rows "
        "tables values"
    ),
    "ingestion/management": "output progress",
    "operations": "administrators doctor finding health waiting",
    "operations/checks": "backups configuration database erp machine night",
    "operations/management": "",
    "operations/backups": (
        "archive checking content copy engines errors making postgresql postgresql_tools restoring "
        "sqlite sqlserver"
    ),
    "admin_portal": "chart dashboard monitor",
    "exports": "list_workbook",
}
FREE_FOLDERS = ("migrations", "management/commands", "templatetags", "tests")


@dataclass(frozen=True)
class Module:
    """A Python file of the project, parsed."""

    path: str  # from the project's root, with slashes
    source: str

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.source)

    @property
    def name(self) -> str:
        """As one imports it."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def app(self) -> str:
        """The app it belongs to, "" outside of apps/."""
        parts = self.path.split("/")
        return parts[1] if parts[0] == "apps" and len(parts) > 2 else ""

    @property
    def is_test(self) -> bool:
        return "tests" in self.path.split("/") or Path(self.path).name == "conftest.py"

    def is_layer(self, layer: str) -> bool:
        """Whether it is, for instance, an app's `views.py` or in its folder `views`."""
        parts = self.path.removesuffix(".py").split("/")
        return bool(self.app) and layer in parts[2:]

    def nodes(self) -> Iterator[ast.AST]:
        return ast.walk(self.tree)

    def imports(self) -> Iterator[str]:
        """Every imported module and name, dotted, wherever in the file the import stands."""
        for node in self.nodes():
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                origin = node.module or ""
                if node.level:
                    package = self.path.split("/")[: -node.level]
                    origin = ".".join([*package, *filter(None, [origin])])
                yield origin
                yield from (f"{origin}.{alias.name}" for alias in node.names)

    def calls(self) -> Iterator[ast.Call]:
        return (node for node in self.nodes() if isinstance(node, ast.Call))


@cache
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return tuple(
        Module(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for path in paths
    )


def product() -> list[Module]:
    """What runs in production: the apps without demo and tests. Migrations are Django's."""
    return [
        module
        for module in modules("apps", "po_tracking")
        if not module.is_test and module.app != DEMO and "/migrations/" not in module.path
    ]


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute chain, calls and subscripts in it skipped; "" for anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}".removeprefix(".")
    if isinstance(node, ast.Call):
        return dotted(node.func)
    if isinstance(node, ast.Subscript):
        return dotted(node.value)
    return node.id if isinstance(node, ast.Name) else ""


def called(call: ast.Call) -> str:
    """The last name of what is called."""
    return dotted(call.func).rpartition(".")[2]


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    spec = function.args
    extra = [arg for arg in (spec.vararg, spec.kwarg) if arg is not None]
    return [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *extra]


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def begins_with(imported: str, *packages: str) -> bool:
    return any(imported == package or imported.startswith(f"{package}.") for package in packages)


# --- the rules ----------------------------------------------------------------------------------

Rule = Callable[[Module], list[str]]


def imports_only_downward(module: Module) -> list[str]:
    """Each layer imports those before it; admin_portal and exports import all but each other."""
    own = module.app
    if own in LAYERS:
        allowed = {*LAYERS[: LAYERS.index(own) + 1]}
    else:
        allowed = {*LAYERS, own} if own else {*LAYERS, *TOP}
    return [
        f"imports {imported}"
        for imported in module.imports()
        if imported.startswith("apps.") and imported.split(".")[1] not in allowed
    ]


def imports_what_is_installed(module: Module) -> list[str]:
    """What a file needs to be loaded is in requirements/base.txt, all that a demo installs.
    Drivers are in production.txt: functions ask for them, and files of one engine. What only tests
    and linters need is on the machine of who writes it, and nowhere else."""
    in_functions = {id(node) for function in functions(module.tree) for node in ast.walk(function)}
    of_one_engine = Path(module.path).stem in {"postgresql", "sqlserver"}
    found = []
    for node in module.nodes():
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        else:
            continue
        group = "production" if of_one_engine or id(node) in in_functions else "base"
        found += [
            f"imports {name}, which requirements/{group}.txt does not install"
            for name in names
            if not _is_installed(name.partition(".")[0], group)
        ]
    return found


def _is_installed(package: str, group: str) -> bool:
    if package in sys.stdlib_module_names or package in {"apps", "po_tracking"}:
        return True
    here = {name.lower().replace("_", "-") for name in _distributions().get(package, [])}
    return bool(here & _required(group))


@cache
def _distributions() -> dict[str, list[str]]:
    return {**packages_distributions()}


@cache
def _required(group: str) -> frozenset[str]:
    text = (ROOT / "requirements" / f"{group}.txt").read_text(encoding="utf-8")
    return frozenset(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))


def names_apps_only_in_imports(module: Module) -> list[str]:
    """A module found by name at run time would pass the rule above unseen."""
    return [
        f"finds code by name with {called(call)}"
        for call in module.calls()
        if module.app
        and called(call) in {"import_module", "import_string", "get_model", "__import__"}
    ]


def knows_no_signals(module: Module) -> list[str]:
    """What happens is called for by name; nothing happens behind the caller's back."""
    forbidden = ("django.dispatch", "django.db.models.signals", "django.core.signals")
    return [f"imports {name}" for name in module.imports() if begins_with(name, *forbidden)]


def leaves_the_erp_to_its_border(module: Module) -> list[str]:
    """Only apps/ingestion/erp touches the "erp" connection."""
    if begins_with(module.name, "apps.ingestion.erp", "po_tracking"):
        return []
    found = [f"imports {name}" for name in module.imports() if name.endswith(".ERP_ALIAS")]
    for node in module.nodes():
        named: list[ast.expr] = []
        if isinstance(node, ast.Subscript) and dotted(node.value) == "connections":
            named = [node.slice]
        elif isinstance(node, ast.Call):
            named = [k.value for k in node.keywords if k.arg in {"using", "database", "alias"}]
            if called(node) in {"using", "db_manager", "get_connection"}:
                named += node.args
        found += [
            f'names the connection "erp" in line {value.lineno}'
            for value in named
            if isinstance(value, ast.Constant) and value.value == "erp"
        ]
    return found


_HTTP = (
    "django.http",
    "django.shortcuts",
    "django.views",
    "django.urls",
    "django.template",
    "django.middleware",
    "django_htmx",
)


def uses_request(module: Module) -> list[str]:
    """Where `request` is a parameter, a variable or an attribute."""
    found = []
    for node in module.nodes():
        name = {ast.arg: "arg", ast.Name: "id", ast.Attribute: "attr"}.get(type(node))
        if name and getattr(node, name) == "request":
            found.append(f"knows `request` in line {getattr(node, 'lineno', 0)}")
    return found


def ingestion_knows_no_http(module: Module) -> list[str]:
    """A night needs no browser. Its context processor, which tells pages the data's age, does."""
    if module.app != "ingestion" or module.path == "apps/ingestion/context_processors.py":
        return []
    return [f"imports {n}" for n in module.imports() if begins_with(n, *_HTTP)] + uses_request(
        module
    )


def services_see_no_request(module: Module) -> list[str]:
    """Services get what they need by name: they neither read a request nor render an answer."""
    if not module.is_layer("services"):
        return []
    found = [f"imports {n}" for n in module.imports() if begins_with(n, *_HTTP)]
    found += [f"imports {n}" for n in module.imports() if re.search(r"\.(views|forms)\b", n)]
    return found + uses_request(module)


def views_leave_work_to_others(module: Module) -> list[str]:
    """Views parse, scope, call a service and pick a page; they neither write nor audit."""
    if not module.is_layer("views"):
        return []
    found = [
        f"calls .{called(call)}() in line {call.lineno}"
        for call in module.calls()
        if isinstance(call.func, ast.Attribute)
        and called(call) in {"save", "delete", "create", "bulk_create", "bulk_update"}
    ]
    writers = ("django.db.transaction", "apps.audit.services", "apps.core.bulk")
    return found + [f"imports {n}" for n in module.imports() if begins_with(n, *writers)]


def views_scope_what_they_read(module: Module) -> list[str]:
    """Every `.objects` in a view goes on with `.for_user(...)`, and 404 comes from the scope."""
    if not module.is_layer("views"):
        return []
    scoped = {
        id(node.value)
        for node in module.nodes()
        if isinstance(node, ast.Attribute) and node.attr == "for_user"
    }
    found = [
        f"uses .{node.attr} without for_user in line {node.lineno}"
        for node in module.nodes()
        if isinstance(node, ast.Attribute)
        and node.attr in {"objects", "_default_manager", "_base_manager"}
        and id(node) not in scoped
    ]
    for call in module.calls():
        shortcut = called(call) in {"get_object_or_404", "get_list_or_404"}
        if shortcut and ".for_user" not in dotted(call.args[0]):
            found.append(f"calls {called(call)} without for_user in line {call.lineno}")
    return found


_HISTORY = ("AuditEvent", "ERPChangeEvent")
_RELATED_HISTORY = {"audit_events", "erp_changes", "change_events"}
_WRITES = {
    "create", "acreate", "bulk_create", "abulk_create", "get_or_create", "update_or_create",
    "add", "set",
}  # fmt: skip


def leaves_history_to_the_audit_app(module: Module) -> list[str]:
    """Audit rows are written by apps/audit/services.py alone, so that all of them are complete."""
    if module.app == "audit":
        return []
    names = {*_HISTORY}
    for node in module.nodes():
        if isinstance(node, ast.ImportFrom) and node.module == "apps.audit.models":
            names |= {a.asname for a in node.names if a.asname and a.name in _HISTORY}
    found = []
    for call in module.calls():
        chain = dotted(call.func).split(".")
        given = [dotted(argument).rpartition(".")[2] for argument in call.args]
        makes = chain[-1] in names
        writes = chain[-1] in _WRITES and {*names, *_RELATED_HISTORY} & {*chain}
        bulk = chain[-1] in {"insert_rows", "update_rows"} and names & {*given}
        if makes or writes or bulk:
            found.append(f"writes history in line {call.lineno}")
    return found


def querysets_only_read(module: Module) -> list[str]:
    """They scope, annotate and order."""
    if not module.is_layer("querysets"):
        return []
    return [
        f"writes with {called(call)} in line {call.lineno}"
        for call in module.calls()
        if called(call) in {"save", "create", "bulk_create", "update", "insert_rows"}
        # An override that refuses some calls hands the others on.
        and not dotted(call.func).startswith("super.")
    ]


def models_know_no_workflow(module: Module) -> list[str]:
    """Fields, constraints and `__str__`; forms and filters likewise only know shapes."""
    if not any(module.is_layer(layer) for layer in ("models", "forms", "filters")):
        return []
    return [
        f"imports {name}" for name in module.imports() if re.search(r"\.(services|views)\b", name)
    ]


_ROW_WRITES = {
    "save", "create", "bulk_create", "get_or_create", "update_or_create", "bulk_update", "update",
    "delete", "insert_rows", "update_rows", "atomic",
}  # fmt: skip
# Beside the run, whose stages get their actor with the context, ingestion has these.
_SERVICES_OF_COMMANDS = {"apps.ingestion.retention", "apps.ingestion.xref_import"}
# The ERP's own changes: who made them there nobody knows, the run they carry says who told us.
_WRITE_WITHOUT_ACTOR = {"apps.audit.services.record_changes"}


def services_that_write_name_their_actor(module: Module) -> list[str]:
    """A required keyword-only `actor`; what a service writes through its own helpers counts."""
    if not module.is_layer("services") and module.name not in _SERVICES_OF_COMMANDS:
        return []
    top = {n.name: n for n in module.tree.body if isinstance(n, ast.FunctionDef)}
    does = {
        name: {called(node) for node in ast.walk(function) if isinstance(node, ast.Call)}
        for name, function in top.items()
    }
    writers = {name for name, calls in does.items() if calls & _ROW_WRITES}
    while more := {name for name, calls in does.items() if calls & writers} - writers:
        writers |= more
    return [
        f"{name} writes without a required keyword-only actor"
        for name in sorted(writers)
        if not name.startswith("_")
        and f"{module.name}.{name}" not in _WRITE_WITHOUT_ACTOR
        and "actor" not in _required_keywords(top[name])
    ]


def _required_keywords(function: ast.FunctionDef) -> set[str]:
    spec = function.args
    pairs = zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    return {argument.arg for argument, default in pairs if default is None}


def an_actor_is_somebody(module: Module) -> list[str]:
    """No default and no None: the nightly job acts under a name of its own."""
    found = []
    for function in functions(module.tree):
        spec = function.args
        positional = [*spec.posonlyargs, *spec.args]
        defaulted = {arg.arg for arg in positional[len(positional) - len(spec.defaults) :]}
        defaulted |= {
            arg.arg
            for arg, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
            if default is not None
        }
        for argument in parameters(function):
            kind = ast.unparse(argument.annotation) if argument.annotation else ""
            if argument.arg == "actor" and ("actor" in defaulted or "None" in kind):
                found.append(f"{function.name} may be called without an actor")
    return found


# Keyword arguments of Django's ORM for what mssql-django declares unsupported, and its look-ups.
_LACKING_ARGUMENTS = {
    "ignore_conflicts", "update_conflicts", "nulls_first", "nulls_last", "deferrable",
}  # fmt: skip
_LACKING_LOOKUP = re.compile(r"__(regex|iregex|has_keys?|has_any_keys|contained_by)$")


def uses_nothing_that_sql_server_lacks(module: Module) -> list[str]:
    """Features that would pass on SQLite and PostgreSQL and fail in production."""
    found = []
    for call in module.calls():
        given = [keyword.arg for keyword in call.keywords if keyword.arg]
        found += [
            f"uses {name} in line {call.lineno}"
            for name in given
            if name in _LACKING_ARGUMENTS or _LACKING_LOOKUP.search(name)
        ]
        if called(call) == "distinct" and call.args:
            found.append(f"uses DISTINCT ON in line {call.lineno}")
    return found


_QUERY_COUNTS = {
    "assertNumQueries",
    "django_assert_num_queries",
    "django_assert_max_num_queries",
}


def counts_queries_in_a_with(module: Module) -> list[str]:
    """Without `with` nothing is counted, and the test passes whatever happens."""
    entered = {
        id(item.context_expr)
        for node in module.nodes()
        if isinstance(node, ast.With | ast.AsyncWith)
        for item in node.items
    }
    return [
        f"bare {called(call)} in line {call.lineno}"
        for call in module.calls()
        if called(call) in _QUERY_COUNTS and id(call) not in entered
    ]


def stands_where_it_is_looked_for(module: Module) -> list[str]:
    """The same file names in every app; a new one is added to OWN_FILES when it has earned it."""
    if not module.app or module.app == DEMO:
        return []
    folder, _, file = module.path.removeprefix("apps/").rpartition("/")
    inside = folder.partition("/")[2]
    if any(begins_with(inside.replace("/", "."), free.replace("/", ".")) for free in FREE_FOLDERS):
        return []
    if folder in OWN_FILES:
        general = "__init__" if inside else EVERYWHERE
        known = file.removesuffix(".py") in f"{general} {OWN_FILES[folder]}".split()
    else:
        # A layer that has outgrown one file is a folder of the same name.
        known = inside in EVERYWHERE.split()
    return [] if known else [f"{module.path} is no file name of the others"]

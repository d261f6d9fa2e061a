"""Who sees what: a truth table of people by models, and lines that moved between suppliers."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.test import RequestFactory
from django.utils.functional import SimpleLazyObject

from apps.accounts.models import Role, User
from apps.accounts.scope import supplier_scope
from apps.audit.models import AuditEvent, ERPChangeEvent
from apps.batches.models import Batch
from apps.po.models import POLine, StatusChange, Supplier
from tests.factories import (
    AuditEventFactory,
    BatchFactory,
    ERPChangeEventFactory,
    POLineFactory,
    RunEventFactory,
    StatusChangeFactory,
    SupplierFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

Person = User | AnonymousUser | SimpleLazyObject | None
ALPHA, BETA, NOBODY_S = "alpha", "beta", "nobody's"
EVERYTHING = {ALPHA, BETA, NOBODY_S}
MODELS = [Supplier, POLine, StatusChange, AuditEvent, ERPChangeEvent, Batch]


class World:
    """Two suppliers with a row of every kind each, and an event that is no supplier's."""

    def __init__(self) -> None:
        self.alpha = SupplierFactory.create(code=ALPHA)
        self.beta = SupplierFactory.create(code=BETA)
        for supplier in (self.alpha, self.beta):
            history_of(POLineFactory.create(supplier=supplier), supplier)
        RunEventFactory.create()

    def sees(self, person: Any, model: type[Any]) -> set[str]:
        """Whose rows of the model the person sees."""
        rows = model.objects.for_user(person)
        path = "code" if model is Supplier else "supplier__code"
        return {code or NOBODY_S for code in rows.values_list(path, flat=True)}


def history_of(line: POLine, supplier: Supplier) -> None:
    """One row of every kind for a line, from its time with the supplier."""
    for factory in (StatusChangeFactory, AuditEventFactory, ERPChangeEventFactory, BatchFactory):
        factory.create(po_line=line, supplier=supplier)


@pytest.fixture
def world() -> World:
    return World()


def expeditor(*suppliers: Supplier, **values: Any) -> User:
    return UserFactory.create(role=Role.EXPEDITOR, suppliers=suppliers, **values)


def as_request_user(user: User) -> SimpleLazyObject:
    """As the authentication middleware hands it to a view."""
    request = RequestFactory().get("/")
    request.user = SimpleLazyObject(lambda: user)  # type: ignore[assignment]  # what Django does
    lazy: SimpleLazyObject = request.user  # type: ignore[assignment]  # see above
    return lazy


PEOPLE: dict[str, tuple[Callable[[World], Person], set[str]]] = {
    "None": (lambda w: None, set()),
    "anonymous": (lambda w: AnonymousUser(), set()),
    "without a role": (lambda w: UserFactory.create(role=""), set()),
    "unknown role": (lambda w: UserFactory.create(role="auditor"), set()),
    "superuser without a role": (
        lambda w: UserFactory.create(role="", is_superuser=True, is_staff=True),
        set(),
    ),
    "unknown role with suppliers": (
        lambda w: UserFactory.create(role="auditor", suppliers=[w.alpha]),
        set(),
    ),
    "inactive admin": (lambda w: UserFactory.create(role=Role.ADMIN, is_active=False), set()),
    "inactive planner": (lambda w: UserFactory.create(role=Role.PLANNER, is_active=False), set()),
    "inactive expeditor": (lambda w: expeditor(w.alpha, is_active=False), set()),
    "admin": (lambda w: UserFactory.create(role=Role.ADMIN), EVERYTHING),
    "planner": (lambda w: UserFactory.create(role=Role.PLANNER), EVERYTHING),
    "planner with suppliers": (
        lambda w: UserFactory.create(role=Role.PLANNER, suppliers=[w.alpha]),
        EVERYTHING,
    ),
    "expeditor without suppliers": (lambda w: expeditor(), set()),
    "expeditor of alpha": (lambda w: expeditor(w.alpha), {ALPHA}),
    "expeditor of beta": (lambda w: expeditor(w.beta), {BETA}),
    "expeditor of both": (lambda w: expeditor(w.alpha, w.beta), {ALPHA, BETA}),
    "expeditor of alpha on a request": (lambda w: as_request_user(expeditor(w.alpha)), {ALPHA}),
    "inactive admin on a request": (
        lambda w: as_request_user(UserFactory.create(role=Role.ADMIN, is_active=False)),
        set(),
    ),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("person", "visible"), PEOPLE.values(), ids=PEOPLE.keys())
def test_everybody_sees_their_suppliers_rows_and_no_others(
    world: World, person: Callable[[World], Person], visible: set[str], model: type[models.Model]
) -> None:
    has_rows_of_nobody = model is AuditEvent
    expected = visible if has_rows_of_nobody else visible - {NOBODY_S}
    assert world.sees(person(world), model) == expected


@pytest.mark.parametrize("role", ["", "auditor", "Admin", "ADMIN", "admin "])
def test_only_the_exact_names_of_roles_open_anything(role: str) -> None:
    assert supplier_scope(User(role=role), "supplier") is None


def test_an_expeditor_of_two_suppliers_sees_every_row_once(world: World) -> None:
    both = expeditor(world.alpha, world.beta)
    assert POLine.objects.for_user(both).count() == 2
    assert Supplier.objects.for_user(both).count() == 2


def test_a_supplier_taken_from_an_expeditor_is_gone_at_once(world: World) -> None:
    wei = expeditor(world.alpha, world.beta)
    wei.suppliers.remove(world.alpha)
    assert world.sees(wei, POLine) == {BETA}


@pytest.mark.parametrize("model", [StatusChange, AuditEvent, ERPChangeEvent, Batch])
def test_of_a_line_that_moved_each_expeditor_sees_the_time_of_their_own_supplier(
    world: World, model: type[Any]
) -> None:
    moved = POLineFactory.create(supplier=world.beta)
    history_of(moved, world.alpha)
    history_of(moved, world.beta)

    def seen(person: User) -> set[str]:
        rows = model.objects.for_user(person).filter(po_line=moved)
        return set(rows.values_list("supplier__code", flat=True))

    assert seen(expeditor(world.alpha)) == {ALPHA}
    assert seen(expeditor(world.beta)) == {BETA}
    assert seen(expeditor(world.alpha, world.beta)) == {ALPHA, BETA}
    assert seen(UserFactory.create(role=Role.PLANNER)) == {ALPHA, BETA}


def test_a_line_that_moved_is_seen_by_the_expeditor_of_its_present_supplier_only(
    world: World,
) -> None:
    moved = POLineFactory.create(supplier=world.beta)
    history_of(moved, world.alpha)
    assert POLine.objects.for_user(expeditor(world.beta)).filter(pk=moved.pk).exists()
    assert not POLine.objects.for_user(expeditor(world.alpha)).filter(pk=moved.pk).exists()


def test_the_scope_stays_when_further_conditions_are_added(world: World) -> None:
    wei = expeditor(world.alpha)
    foreign = POLine.objects.get(supplier=world.beta)
    assert not POLine.objects.for_user(wei).filter(pk=foreign.pk).exists()
    assert not Batch.objects.for_user(wei).filter(po_line=foreign).exists()
    either = POLine.objects.for_user(wei) | POLine.objects.for_user(None)
    assert {line.supplier.code for line in either} == {ALPHA}

"""Which suppliers' data a user may see: the one place that knows (requirements FR37 to FR40)."""

from django.contrib.auth.models import AnonymousUser
from django.db.models import Q

from apps.accounts.models import Role, User


def supplier_scope(user: User | AnonymousUser | None, path: str) -> Q | None:
    """The condition that limits rows to what the user may see.

    `path` leads from the row to its supplier ("supplier", or "" when the row is the supplier).
    Returns None when the user may see nothing: nobody, a deactivated user, an unknown role. An
    expeditor without suppliers gets a condition that no row fulfils.
    """
    if not isinstance(user, User) or not user.is_active:
        return None
    if user.role in (Role.ADMIN, Role.PLANNER):
        return Q()
    if user.role == Role.EXPEDITOR:
        own = user.suppliers.values("pk")
        return Q(**{f"{path}__in" if path else "pk__in": own})
    return None

"""What a view says about itself: who may use it, and whether it works without writing."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from apps.core.roles import Role, has_role

View = Callable[..., HttpResponse]
AnyView = TypeVar("AnyView", bound=Callable[..., Any])


def role_required(*roles: Role) -> Callable[[View], View]:
    """Lets only these roles in; others get 403. For what is inside a user's scope but not theirs to
    do: what is outside of it is "not found", which `.for_user` sees to."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not has_role(request.user, *roles):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return guarded

    return decorate


def gives_file(view: AnyView) -> AnyView:
    """Marks a view that answers with a file. The browser stays on the page before it, and so it is
    there that signing in leads back to (apps.core.middleware.SignInRequired)."""
    view.gives_file = True  # type: ignore[attr-defined]  # a mark on a function
    return view


def works_read_only(view: AnyView) -> AnyView:
    """Marks a view whose POST writes nothing to the database of the read-only instance, which
    refuses all others (apps.core.middleware.ReadOnlyInstance)."""
    view.works_read_only = True  # type: ignore[attr-defined]  # a mark on a function
    return view

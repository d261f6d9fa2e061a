"""Addresses of the accounts app."""

from django.urls import path

from apps.accounts import views
from apps.core.decorators import works_read_only

urlpatterns = [
    path("sign-in/", works_read_only(views.SignIn.as_view()), name="sign_in"),
    path("sign-out/", works_read_only(views.SignOut.as_view()), name="sign_out"),
    path("password/", views.change_password, name="change_password"),
]

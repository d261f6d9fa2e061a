"""Addresses of the PO app."""

from django.urls import path

from apps.po.views import start

urlpatterns = [path("", start.start, name="start")]

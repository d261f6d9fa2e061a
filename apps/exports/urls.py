"""Addresses of what leaves as a file."""

from django.urls import path

from apps.exports import views

urlpatterns = [path("po/export/", views.export_list, name="po_export")]

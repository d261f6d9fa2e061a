"""Addresses of the PO app."""

from django.urls import path

from apps.po import views

urlpatterns = [path("", views.start, name="start")]

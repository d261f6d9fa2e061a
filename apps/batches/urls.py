"""Addresses of the batches app: its sections of a line's panel."""

from django.urls import path

from apps.batches import views

urlpatterns = [
    path("po/<int:pk>/batches/", views.batches, name="po_batches"),
    path("po/<int:pk>/movement/", views.date_movement, name="po_movement"),
]

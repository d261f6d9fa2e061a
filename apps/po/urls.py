"""Addresses of the PO app."""

from django.urls import path

from apps.po.views import custom_value, detail, lines, start

urlpatterns = [
    path("", start.start, name="start"),
    path("po/", lines.line_list, name="po_list"),
    path("po/columns/", lines.choose_columns, name="po_columns"),
    path("po/columns/save/", lines.save_columns, name="save_columns"),
    path("po/views/", lines.save_view, name="save_view"),
    path("po/views/<uuid:identifier>/", lines.shared_view, name="shared_view"),
    path("po/views/<uuid:identifier>/delete/", lines.delete_view, name="delete_view"),
    path("po/<int:pk>/custom/<slug:slot>/", custom_value.edit, name="custom_value"),
    path("po/<int:pk>/custom/<slug:slot>/give-back/", custom_value.give_back, name="give_back"),
    path("po/<int:pk>/", detail.detail, name="po_detail"),
    path("po/<int:pk>/timeline/", detail.show_timeline, name="po_timeline"),
    path("po/<int:pk>/status/", detail.status_history, name="po_status_history"),
]

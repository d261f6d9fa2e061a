"""Addresses of the admin pages."""

from django.urls import path

from apps.admin_portal.views import dashboard, ingestion

_RUN = "admin-portal/ingestion/<int:pk>/"

urlpatterns = [
    path("admin-portal/", dashboard.dashboard, name="admin_dashboard"),
    path("admin-portal/health/server/", dashboard.server_health, name="server_health"),
    path("admin-portal/health/erp/", dashboard.erp_health, name="erp_health"),
    path("admin-portal/ingestion/", ingestion.runs, name="ingestion_runs"),
    path(_RUN, ingestion.run, name="ingestion_run"),
    path(f"{_RUN}row/", ingestion.run_row, name="ingestion_run_row"),
    path(f"{_RUN}changes/", ingestion.changes, name="ingestion_run_changes"),
    path(f"{_RUN}rejected/", ingestion.rejected, name="ingestion_run_rejected"),
    path(f"{_RUN}gaps/", ingestion.gaps, name="ingestion_run_gaps"),
]

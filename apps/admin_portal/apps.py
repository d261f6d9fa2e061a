from django.apps import AppConfig


class AdminPortalConfig(AppConfig):
    name = "apps.admin_portal"

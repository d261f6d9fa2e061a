from django.apps import AppConfig
from django.conf import settings
from django.contrib.auth.signals import user_logged_in


class AccountsConfig(AppConfig):
    name = "apps.accounts"

    def ready(self) -> None:
        if settings.READ_ONLY:
            # Django would store the moment of each sign-in, which a replica refuses.
            user_logged_in.disconnect(dispatch_uid="update_last_login")

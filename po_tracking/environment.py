"""The environment, read with errors that name the variable."""

from typing import Any

import environ


class Environment(environ.Env):  # type: ignore[misc]  # the package ships no types
    """A value of the wrong kind is refused by the variable's name, as a missing one is."""

    def get_value(self, var: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get_value(var, *args, **kwargs)
        except ValueError:
            # Only numbers and truth values are converted, so no secret is shown.
            raise environ.ImproperlyConfigured(
                f'{var} is "{self.ENVIRON.get(var)}", which is not of the right kind. Write it as '
                ".env.example shows."
            ) from None


env = Environment()

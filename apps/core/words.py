"""The type of words that are shown: a text, or one that is translated only when it is shown.

django-stubs has one of the same name, in a package that only developers install.
"""

from django.utils.functional import Promise

StrOrPromise = str | Promise

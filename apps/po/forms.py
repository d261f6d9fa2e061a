"""What people send about the list. Shape only; the rules are in services.py."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _


class SaveViewForm(forms.Form):
    """The name under which a view is kept."""

    name = forms.CharField(label=_("Name"), max_length=60)
    query = forms.CharField(
        widget=forms.HiddenInput,
        required=False,
        max_length=4_000,
        error_messages={"max_length": _("These are too many filters to be kept as a view.")},
    )
    # The name of which the person was told that they have such a view, and so may replace it.
    taken = forms.CharField(widget=forms.HiddenInput, required=False)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not name.isprintable():
            raise forms.ValidationError(_("A name is one line of letters, digits and signs."))
        return name

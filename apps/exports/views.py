"""Files to take away."""

from __future__ import annotations

import re
from typing import Any

from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from apps.core.decorators import gives_file
from apps.exports.list_workbook import MOST_LINES, TooManyLines, write_list
from apps.po.list_page import LineList

_EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_MARK = re.compile("[0-9]{1,20}")


@gives_file
@require_GET
def export_list(request: HttpRequest) -> HttpResponse | FileResponse:
    """The lines of the list as an Excel file: the same filters, order and columns.

    `mark`, a number, comes back as a cookie.
    """
    user: Any = request.user
    asked = LineList.asked_for(user, request.GET)
    try:
        file = write_list(asked)
    except TooManyLines:
        return render(request, "exports/too_many.html", {"most": MOST_LINES}, status=413)
    name = f"po-list-{timezone.localtime():%Y-%m-%d-%H%M}.xlsx"
    response = FileResponse(file, as_attachment=True, filename=name, content_type=_EXCEL)
    if _MARK.fullmatch(mark := request.GET.get("mark", "")):
        # Tells the page, which goes on meanwhile, that the file is there (static/js/list.js).
        response.set_cookie("file", mark, max_age=60, secure=request.is_secure(), samesite="Lax")
    return response

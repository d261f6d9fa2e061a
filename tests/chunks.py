"""A small world in as many chunks as a large one has."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch


@contextmanager
def chunks_of(size: int) -> Iterator[None]:
    """Inside, the ingestion reads and writes nothing in chunks of more than `size`."""
    with ExitStack() as stack:
        for module in [m for name, m in sys.modules.items() if name.startswith("apps.ingestion.")]:
            for name, value in vars(module).items():
                if name.endswith(("_AT_ONCE", "FETCH_SIZE")):
                    stack.enter_context(patch.object(module, name, min(size, value)))
        yield

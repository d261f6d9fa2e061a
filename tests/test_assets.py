"""Style sheets, scripts and fonts that packages bring are those that their makers published."""

import hashlib
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders

# As published: getbootstrap.com 5.3.3, icons.getbootstrap.com 1.11.3. Another checksum here means
# that the package holds another version, or something else.
PUBLISHED = {
    "js-lib-bootstrap5/css/bootstrap.min.css": (
        "3c8f27e6009ccfd710a905e6dcf12d0ee3c6f2ac7da05b0572d3e0d12e736fc8"
    ),
    "js-lib-bootstrap5/js/bootstrap.bundle.min.js": (
        "0833b2e9c3a26c258476c46266e6877fc75218625162e0460be9a3a098a61c6c"
    ),
    "bootstrap-icons/font/bootstrap-icons.min.css": (
        "f643d6fe7e679f9de3e16311600c5ef5cd6b098f7a3a8828fcc29255d2b33e62"
    ),
    "bootstrap-icons/font/fonts/bootstrap-icons.woff2": (
        "476adf42b40325098fcfa8b36ab3e769186bb4f6ce6a249753e2e1a9c22bf99e"
    ),
    "bootstrap-icons/font/fonts/bootstrap-icons.woff": (
        "bb1de989b83970f6f4e54de1cd974c5cba55b73582da5e1b225a6d0edf029483"
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_file_from_a_package_is_byte_for_byte_the_published_one(name: str) -> None:
    found = finders.find(name)
    assert found
    assert hashlib.sha256(Path(found).read_bytes()).hexdigest() == PUBLISHED[name]

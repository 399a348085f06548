"""The core, its project and its picture, as the tests of the workers have them."""

from __future__ import annotations

from tests.workers.conftest import core as core
from tests.workers.conftest import grant as grant
from tests.workers.conftest import own_server as own_server
from tests.workers.conftest import photo as photo
from tests.workers.conftest import settings as settings

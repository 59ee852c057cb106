"""The two versions in real git and DVC, as tests of the room `versions` have them."""

from tests.pipeline.versions.conftest import made, versions  # noqa: F401  # fixtures

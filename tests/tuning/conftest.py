"""The small random model of every family is a fixture here too."""

from tests.models.conftest import folders

__all__ = ["folders"]

"""The frozen base of a comparison: read from the disk once, copied for each arm."""

import copy

from loracast.models.base import Backbone
from loracast.models.registry import load_backbone
from loracast.tuning.adapter import base_digest


class Shared:
    """The backbone that the last run used, as it was loaded, so that the next need not read and hash it again.

    One at a time is kept: the arms of one backbone stand together in an experiment.
    """

    def __init__(self) -> None:
        self._key: tuple[str, str | None] | None = None
        self._loaded: tuple[Backbone, str] | None = None

    def copy(self, name: str, revision: str | None) -> tuple[Backbone, str]:
        """A backbone of one's own to change, and the digest of its weights."""
        if self._loaded is None or self._key != (name, revision):
            self._loaded = None  # before the next is loaded: two large ones may not fit
            backbone = load_backbone(name, revision=revision)
            self._key, self._loaded = (name, revision), (backbone, base_digest(backbone))
        return copy.deepcopy(self._loaded[0]), self._loaded[1]

"""Pseudonyms of patients and stays: HMAC-SHA256 (RFC 2104) under a key that stays with the caller."""

import hashlib
import hmac
import json
from pathlib import Path

from loracast.errors import ConfigError

FEWEST_KEY_BYTES = 16
_HEX_DIGITS = 32
"""128 of the 256 bits: no two of a billion names are alike by chance."""


class Pseudonyms:
    """Names by which nobody without the key knows a patient or a stay; the same key gives the same names.

    Stays are named together with their patient, so that equal names of stays in two patients become two.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of_file(cls, file: Path) -> "Pseudonyms":
        """With all bytes of `file` as the key; raises ConfigError where it cannot be read or is too short."""
        make = "Make one that is kept secret: openssl rand -hex 32 > FILE"
        try:
            key = file.read_bytes()
        except OSError as error:
            raise ConfigError(f"The key file {file} cannot be read ({error.strerror}). {make}") from error
        if len(key) < FEWEST_KEY_BYTES:
            raise ConfigError(
                f"The key in {file} has {len(key)} bytes; at least {FEWEST_KEY_BYTES} are needed, or names could be "
                f"guessed. {make}"
            )
        return cls(key)

    def patient(self, patient: str) -> str:
        """The pseudonym of a patient."""
        return self._of("patient", patient)

    def stay(self, patient: str, stay: str) -> str:
        """The pseudonym of a stay of a patient."""
        return self._of("stay", patient, stay)

    def _of(self, *parts: str) -> str:
        return hmac.new(self._key, json.dumps(parts).encode(), hashlib.sha256).hexdigest()[:_HEX_DIGITS]

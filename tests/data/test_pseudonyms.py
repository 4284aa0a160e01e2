"""Pseudonyms: HMAC-SHA256 under the caller's key, the same for the same key, apart for patients and stays."""

import hashlib
import hmac

from loracast.data.pseudonyms import Pseudonyms

KEY = b"0123456789abcdef"


def test_a_pseudonym_is_the_hmac_of_the_name_under_the_key(tmp_path):
    (tmp_path / "key").write_bytes(KEY)
    found = Pseudonyms.of_file(tmp_path / "key").patient("p1")
    assert found == hmac.new(KEY, b'["patient", "p1"]', hashlib.sha256).hexdigest()[:32]


def test_names_of_several_parts_are_not_joined_and_patients_are_no_stays():
    names = Pseudonyms(KEY)
    found = [names.stay("a", "1-1"), names.stay("a-1", "1"), names.stay("b", "1-1"), names.patient("a")]
    assert len(set(found)) == 4
    assert Pseudonyms(b"f" * 16).patient("a") != names.patient("a")

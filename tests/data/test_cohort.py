import pytest

from loracast.data.cohort import COHORTS, cohort_named
from loracast.errors import DataError


def test_the_explicit_cohort_has_the_three_codes_without_their_point():
    assert cohort_named("explicit").icd9 == {"99591", "99592", "78552"}
    assert cohort_named("all").icd9 is None


def test_every_cohort_names_its_source():
    assert all(cohort.title and cohort.source for cohort in COHORTS.values())


def test_an_unknown_cohort_is_refused_with_the_known():
    with pytest.raises(DataError, match=r"Unknown cohort: 'sepsis3'. Known cohorts: 'explicit': an explicit"):
        cohort_named("sepsis3")

"""Who belongs to a cohort, as tables of discharge codes.

Discharge codes are set when the stay is over: fit to select a cohort, never to be an input of a forecast.
"""

from dataclasses import dataclass

from loracast.errors import DataError


@dataclass(frozen=True)
class Cohort:
    """A set of ICD-9 codes without their decimal point, any of which admits a hospital admission; None admits all."""

    title: str
    source: str
    icd9: frozenset[str] | None


COHORTS: dict[str, Cohort] = {
    "explicit": Cohort(
        title="an explicit sepsis code (ICD-9 995.91, 995.92 or 785.52)",
        # mimic-code has 995.92 (severe sepsis) and 785.52 (septic shock). 995.91 (sepsis) is explicit as well, and
        # belongs to the code set of CMS NQF #0500; without it the uncomplicated septic patients would be left out.
        source="mimic-code explicit.sql; CMS NQF #0500; Iwashyna et al., Med Care 2014",
        icd9=frozenset({"99591", "99592", "78552"}),
    ),
    "all": Cohort(title="every stay", source="no selection", icd9=None),
}


def cohort_named(name: str) -> Cohort:
    """The cohort of that name; raises DataError with the known ones."""
    if name not in COHORTS:
        known = "; ".join(f"{known!r}: {cohort.title}" for known, cohort in COHORTS.items())
        raise DataError(f"Unknown cohort: {name!r}. Known cohorts: {known}.")
    return COHORTS[name]

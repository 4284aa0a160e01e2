"""The rank sweep: how many numbers suffice, decided on validation patients, reported on test patients.

`sweep` makes the experiment and runs it, `analyse` reads finished runs to thresholds, `properties` says what the series
are like and lays thresholds beside that, and `result` says what all of them find.
"""

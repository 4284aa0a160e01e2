"""The whole error tree.

    LoracastError
    ├── DataError          what was read cannot be used: a table, a column, a value, an empty cohort
    ├── ConfigError        what was asked for cannot be done: a setting, a name, a combination
    ├── BackboneError      a pretrained model cannot be loaded or does not fit the window
    ├── AdapterError       an adapter does not fit the backbone, or cannot be read
    ├── TrainingError      training cannot start, or did not do what its name says
    └── BudgetError        the time that a caller has given is over: what was begun can be resumed

Every message says what was given, what is allowed and what to do next. The command line prints it without a
traceback and exits with 2; anything outside this tree is our own mistake and exits with 1.
"""


class LoracastError(Exception):
    """A caller's mistake; the message is meant for them.

    >>> try:
    ...     lc.Table.open("nowhere.parquet")
    ... except LoracastError as error:
    ...     print(error)
    No such table: nowhere.parquet. Write one with `loracast data ...`.
    """


class DataError(LoracastError):
    """What was read cannot be used.

    >>> lc.Table.from_frame(pd.DataFrame({"bed": [1], "pulse": [80]}))
    Traceback (most recent call last):
    loracast.errors.DataError: No column of the patient is named, none is called patient, ...
    """


class ConfigError(LoracastError):
    """What was asked for cannot be done.

    >>> lc.read("mimc3", "tables")
    Traceback (most recent call last):
    loracast.errors.ConfigError: Unknown source: 'mimc3'. Give source = one of mimic3, ...
    """


class BackboneError(LoracastError):
    """A pretrained model cannot be loaded, or does not fit the window.

    >>> from loracast.models.registry import load_backbone
    >>> load_backbone(str(folder))
    Traceback (most recent call last):
    loracast.errors.BackboneError: ...
    """


class AdapterError(LoracastError):
    """An adapter does not fit the backbone, or cannot be read.

    >>> from loracast.tuning.adapter import load_adapter
    >>> load_adapter(folder)
    Traceback (most recent call last):
    loracast.errors.AdapterError: ...
    """


class TrainingError(LoracastError):
    """Training cannot start, or did not do what its name says.

    >>> from loracast.models.registry import load_backbone
    >>> BitFit().put_on(load_backbone(str(tiny)))
    Traceback (most recent call last):
    loracast.errors.TrainingError: ... has no bias terms ...
    """


class BudgetError(LoracastError):
    """The time that a caller has given is over; what was begun can be resumed.

    >>> raise BudgetError("3 of 8 runs are done. Go on with --resume.")
    Traceback (most recent call last):
    loracast.errors.BudgetError: 3 of 8 runs are done. Go on with --resume.
    """


class LoracastWarning(UserWarning):
    """What a caller should know though the work was done: series without numbers, a patient who may be two.

    >>> issubclass(LoracastWarning, UserWarning)
    True
    """

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
    """A caller's mistake; the message is meant for them."""


class DataError(LoracastError):
    """What was read cannot be used."""


class ConfigError(LoracastError):
    """What was asked for cannot be done."""


class BackboneError(LoracastError):
    """A pretrained model cannot be loaded, or does not fit the window."""


class AdapterError(LoracastError):
    """An adapter does not fit the backbone, or cannot be read."""


class TrainingError(LoracastError):
    """Training cannot start, or did not do what its name says."""


class BudgetError(LoracastError):
    """The time that a caller has given is over; what was begun can be resumed."""

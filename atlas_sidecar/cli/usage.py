"""The one error of the command line."""


class UsageError(Exception):
    """The command was given something that it cannot use; the message says what and what would be right."""

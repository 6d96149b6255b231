"""What makes the local run stop with a sentence instead of a traceback."""


class Trouble(Exception):
    """The run cannot start or go on; the message says why and what to do about it."""

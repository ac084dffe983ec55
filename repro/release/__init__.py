"""What a finished run gives to others: weight files, answers on images, a check of its views."""

from collections.abc import Mapping

from repro.errors import RequestError

MOST = 999_999_999
"""The most images, classes or seeds; a number above it is a slip of the keyboard."""


def required(options: Mapping[str, str], examples: Mapping[str, str]) -> None:
    """Refuse a command line that lacks one of the words in `examples`."""
    for key, example in examples.items():
        if not options[key]:
            raise RequestError(f"{key}= is missing: expected a word such as {key}={example}")

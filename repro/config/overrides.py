"""Words KEY=VALUE by Hydra's own grammar: what they choose, change and vary."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Quote, QuotedString
from hydra.errors import HydraException

from repro.config import settings
from repro.config.choices import CONF, unknown_choice
from repro.errors import RequestError

MOST_RUNS = 10_000
"""Of one sweep."""
GRAMMAR = set(",()[]{}'\"\\")
"""What means something within a value; all else is text, in whatever script."""

Options = Callable[[str], Sequence[str]]
"""The choices of a group, one's own files included."""


def parse(words: Iterable[str]) -> list[Override]:
    """What the words of a command say.

    Raises:
        RequestError: one cannot be read, or would be taken for something else than was meant.
    """
    overrides = [_parsed(word) for word in words]
    for override in overrides:
        _check(override)
    return overrides


# What published nets are tested at where the command does not say: their own size, and the test
# scales of a net of jittered S, as the authors' are.
OF_PUBLISHED = (("size=paper", "size"), ("scale=jitter", "scale", "net"))


def of_published(parsed: Sequence[Override]) -> list[Override]:
    """The words that a command with `weights=` means besides its own."""
    named = {override.key_or_group: override for override in parsed}
    weights = named.get("weights")
    if weights is None or weights.value() is None:
        return []
    meant = [(word, {*keys, "experiments"}) for word, *keys in OF_PUBLISHED]
    return [_parsed(word) for word, keys in meant if not named.keys() & keys]


def text(key: str, value: str) -> str:
    """The word KEY=VALUE whose value is taken as it is, whatever characters it has."""
    return f"{key}={QuotedString(value, Quote.single).with_quotes()}"


def _parsed(word: str) -> Override:
    key, equals, value = word.partition("=")
    if value.startswith("~"):
        raise RequestError(
            f'{word}: the shell leaves ~ there as it is; write {key}="$HOME"{value[1:]}'
        )
    parser = OverridesParser.create()
    try:
        try:
            return parser.parse_override(word)
        except HydraException:
            if not key or not equals or GRAMMAR & set(value):
                raise
            # Of letters that the grammar does not know, as in a path.
            return parser.parse_override(text(key, value))
    except HydraException:
        example = "as in arch=D or recipe.epochs=12"
        if GRAMMAR & set(value):
            quote = Quote.double if "'" in value else Quote.single
            quoted = QuotedString(value, quote).with_quotes()
            outer = '"' if quote == Quote.single else "'"
            example += f"; as plain text it is quoted twice: {outer}{key}={quoted}{outer}"
        raise RequestError(f"{word} cannot be read: expected KEY=VALUE, {example}") from None
    except ValueError:
        # Python reads no number of thousands of digits.
        raise RequestError(f"{word[:40]}... cannot be read: the number is too long") from None


def _check(override: Override) -> None:
    word, group = override.input_line, override.key_or_group
    if not group:
        raise RequestError(f"{word} names no key: expected KEY=VALUE, as in arch=D")
    if group == "hydra":
        raise settings.refusal("hydra")
    if group == "hydra.searchpath":
        raise RequestError(f"{word} is refused: --config-dir names a folder of your own files")
    if group.startswith("hydra.sweeper.params"):
        raise RequestError(f"{word} is for files: words sweep by themselves, as in -m seed=0,1")
    if override.is_hydra_override() and override.is_sweep_override():
        raise RequestError(f"{word}: Hydra's own settings are those of the whole command")
    if override.is_sweep_override() and not override.is_discrete_sweep():
        raise RequestError(f"{word}: expected values to run one after the other, as in {group}=1,2")
    if (CONF / group).is_dir() and not override.is_delete():
        _check_choice(override)


def _check_choice(override: Override) -> None:
    word, group, value = override.input_line, override.key_or_group, override.value()
    if group == "experiments" and override.is_sweep_override():
        raise RequestError(f"{word}: each experiment is a sweep of its own, give one at a time")
    if isinstance(value, Glob):
        return
    for choice in override.sweep_iterator() if override.is_sweep_override() else [value]:
        choice = choice.text if isinstance(choice, QuotedString) else choice
        if isinstance(choice, list):
            names = ",".join(map(str, choice))
            raise RequestError(
                f"{word} names several choices for one run: a sweep is -m {group}={names}"
            )
        if not isinstance(choice, str) or "/" in choice:
            raise unknown_choice(group, choice)


class Product:
    """The jobs of a sweep: each value of each word with each of the others', as Hydra's sweeper."""

    def __init__(self, overrides: Iterable[Override], options: Options) -> None:
        """
        Args:
            overrides: what the words say; of two for one key the later one holds.
            options: the choices of a group, for words such as `arch=glob(*)`.

        Raises:
            RequestError: there is no job, or there are too many.
        """
        self._values: dict[str, list[str]] = {}
        self.jobs = 1
        for override in overrides:
            values = list(itertools.islice(_values(override, options), MOST_RUNS + 1))
            if not values:
                raise RequestError(
                    f"{override.input_line}: there is no run in this sweep: a range or a glob is "
                    "empty"
                )
            self._values[override.get_key_element()] = values
        for values in self._values.values():
            self.jobs *= len(values)
        if self.jobs > MOST_RUNS:
            raise RequestError(f"a sweep of more than {MOST_RUNS:,} runs: divide it")

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        """The words of each job."""
        yield from itertools.product(*self._values.values())

    @property
    def first(self) -> tuple[str, ...]:
        """The words of the first job."""
        return next(iter(self))


def _values(override: Override, options: Options) -> Iterator[str]:
    """The words, one for each value."""
    key, value = override.get_key_element(), override.value()
    if isinstance(value, Glob):
        found: Iterable[str] = value.filter(list(options(override.key_or_group)))
    elif override.is_sweep_override():
        found = override.sweep_string_iterator()
    else:
        assert override.input_line is not None
        yield override.input_line
        return
    for one in found:
        yield f"{key}={one}"

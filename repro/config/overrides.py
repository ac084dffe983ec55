"""Words KEY=VALUE by Hydra's own grammar: what each chooses, changes or sweeps."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Quote, QuotedString
from hydra.errors import HydraException

from repro.config.choices import CONF, unknown_choice
from repro.config.schema import check_word
from repro.errors import RequestError

MOST_RUNS = 10_000
"""The largest sweep."""
GRAMMAR = set(",()[]{}'\"\\")
"""Characters that mean something within a value; all else is text, in whatever script."""
SETTABLE = ("hydra/launcher", "hydra.launcher.", "hydra.mode", "hydra.run.dir", "hydra.sweep.")
"""Beginnings of those of Hydra's own settings that have an effect here."""
OF_WEIGHTS = (("size=paper", "size"), ("scale=jitter", "scale", "net"))
"""What a command with `weights=` means where it has none of these keys: the size and the test
scales of the authors' own nets."""


def parse(words: Iterable[str]) -> list[Override]:
    """The words of a command, each read and checked by itself.

    Raises:
        RequestError: one cannot be read, or would be taken for something else than was meant.
    """
    overrides = [parsed(word) for word in words]
    for override in overrides:
        check(override)
    return overrides


def of_weights(overrides: Sequence[Override]) -> list[Override]:
    """The words that a command with `weights=` means besides its own."""
    named = {override.key_or_group: override for override in overrides}
    weights = named.get("weights")
    if weights is None or weights.value() is None:
        return []
    return [parsed(word) for word, *keys in OF_WEIGHTS if not named.keys() & {*keys, "experiments"}]


def text(key: str, value: str) -> str:
    """The word KEY=VALUE whose value is taken as it is, whatever characters it has."""
    return f"{key}={QuotedString(value, Quote.single).with_quotes()}"


@functools.cache
def parsed(word: str) -> Override:
    """One word, read.

    Raises:
        RequestError: it cannot be read.
    """
    key, equals, value = word.partition("=")
    if value.startswith("~"):
        hint = f'write {key}="$HOME"{value[1:]}'
        raise RequestError(f"{word}: the shell leaves ~ there as it is; {hint}")
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
            example += f"""; plain text is quoted twice, as in "{key}='...'\""""
        raise RequestError(f"{word} cannot be read: expected KEY=VALUE, {example}") from None
    except ValueError:
        # Python reads no number of thousands of digits.
        raise RequestError(f"{word[:40]}... cannot be read: the number is too long") from None


def is_choice(override: Override) -> bool:
    """Whether a word chooses from a group."""
    return (CONF / override.key_or_group).is_dir()


def check(override: Override) -> None:
    """Refuse a word that Hydra would take for something else, or act upon in another way.

    Raises:
        RequestError: what is wrong with it.
    """
    word, key = override.input_line, override.key_or_group
    if not key:
        raise RequestError(f"{word} names no key: expected KEY=VALUE, as in arch=D")
    if override.is_delete():
        raise RequestError(
            f"{word}: nothing can be left out; null stands for none, as in {key}=null"
        )
    if key == "hydra" or (override.is_hydra_override() and not key.startswith(SETTABLE)):
        raise RequestError(
            f"{key} has no effect here: of Hydra's own settings a command has hydra/launcher, "
            "hydra.launcher.KEY, hydra.mode, hydra.run.dir and hydra.sweep.dir (docs/hydra.md)"
        )
    if override.is_sweep_override():
        if override.is_hydra_override():
            raise RequestError(f"{word}: Hydra's own settings are those of the whole command")
        if not override.is_discrete_sweep():
            raise RequestError(f"{word}: expected values to run in turn, as in {key}=1,2")
        if key == "experiments":
            raise RequestError(f"{word}: an experiment is a sweep of its own, give one at a time")
    elif is_choice(override):
        _check_choice(override)
    elif not override.is_hydra_override():
        check_word(key, override.value())


def _check_choice(override: Override) -> None:
    group, name = override.key_or_group, override.value()
    if isinstance(name, list):
        swept = f"-m {group}={','.join(map(str, name))}"
        raise RequestError(f"{override.input_line} are several choices; a sweep is {swept}")
    if name is None and group not in ("net", "experiments"):
        raise unknown_choice(group, "null")
    if name is not None and (not isinstance(name, str) or "/" in name):
        raise unknown_choice(group, name)


def product(
    overrides: Iterable[Override], names: Callable[[str], list[str]]
) -> list[tuple[Override, ...]]:
    """The jobs of a sweep: each value of each word with each of the others', as Hydra's sweeper.

    Args:
        overrides: the words; of two for one key the later one holds.
        names: the choices of a group, for words such as `arch=glob(*)`.

    Raises:
        RequestError: there is no job, there are too many, or one of the values cannot be.
    """
    values: dict[str, list[str]] = {}
    for override in overrides:
        found = list(itertools.islice(_values(override, names), MOST_RUNS + 1))
        if not found:
            raise RequestError(f"{override.input_line}: a range or a glob is empty: no run is left")
        values[override.get_key_element()] = found
    if math.prod(map(len, values.values())) > MOST_RUNS:
        raise RequestError(f"a sweep of more than {MOST_RUNS:,} runs: divide it")
    return list(itertools.product(*(parse(words) for words in values.values())))


def _values(override: Override, names: Callable[[str], list[str]]) -> Iterator[str]:
    """The words of a sweep, one for each value."""
    key, value = override.get_key_element(), override.value()
    if not override.is_sweep_override():
        yield str(override.input_line)
        return
    try:
        if isinstance(value, Glob):
            found: Iterable[str] = value.filter(names(override.key_or_group))
        else:
            found = override.sweep_string_iterator()
        for one in found:
            yield f"{key}={one}"
    except ValueError as error:
        raise RequestError(f"{override.input_line}: {error}") from None

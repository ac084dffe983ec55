"""What a finished run shows, in one line."""

from __future__ import annotations

from collections.abc import Iterator

from repro.errors import RequestError
from repro.protocol.protocols import ONE_NUMBER, views
from repro.run.request import Request
from repro.store import views as stored
from repro.store.runs import read_result


def summary(request: Request) -> str:
    """How training ended, and the errors (%) of a finished run with their 95% intervals.

    Raises:
        RequestError: the run is not finished, or its views show different images.
    """
    result = read_result(request.folder)
    if result is None:
        raise RequestError(f"{request.folder} is not finished")
    line = f"{request.name}: {result['outcome']}"
    if result["outcome"] != "trained":
        line += f" ({result['reason']})"
    if result["validation_error"] is not None:
        line += f", validation error {result['validation_error']:.1f}%"
    for protocol, found in _tested(request):
        low, error, high = stored.interval(stored.wrong(found, 1))
        line += f"; {protocol} test error {error:.1f}% [{low:.1f}; {high:.1f}]"
    return line


def test_errors(request: Request) -> dict[str, float]:
    """The errors (%) on the test images, by protocol, as far as tested."""
    return {name: 100 * stored.wrong(found, 1).mean() for name, found in _tested(request)}


def _tested(request: Request) -> Iterator[tuple[str, stored.Posteriors]]:
    """The posteriors of each protocol that gives one number, as far as it is tested."""
    for protocol in ONE_NUMBER:
        wanted = views(protocol, request.config.scale, request.config.data.mirror)
        if (posteriors := stored.mean_of(request.folder, wanted)) is not None:
            yield protocol, posteriors

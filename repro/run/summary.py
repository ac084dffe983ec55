"""What a finished run shows, in one line."""

from __future__ import annotations

from repro.errors import RequestError
from repro.protocol.protocols import ONE_NUMBER, views
from repro.run.request import Request
from repro.store import permuted
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
    for protocol, (low, error, high) in test_errors(request).items():
        line += f"; {protocol} test error {error:.1f}% [{low:.1f}; {high:.1f}]"
        if permuted_by(request, protocol):
            line += f" ({permuted.WORDS})"
    return line


def permuted_by(request: Request, protocol: str) -> bool:
    """Whether a published net's classes seem to stand in another order, by a tested protocol."""
    if request.published is None:
        return False
    wanted = views(protocol, request.config.scale, request.config.data.mirror)
    found = stored.mean_of(request.folder, wanted)
    return found is not None and permuted.looks_permuted(found.posteriors, found.labels)


def test_errors(request: Request) -> dict[str, tuple[float, float, float]]:
    """The errors (%) between the ends of their 95% intervals, by protocol, as far as tested.

    Raises:
        RequestError: the views show different images.
    """
    errors = {}
    for protocol in ONE_NUMBER:
        wanted = views(protocol, request.config.scale, request.config.data.mirror)
        posteriors = stored.mean_of(request.folder, wanted)
        if posteriors is not None:
            errors[protocol] = stored.interval(stored.wrong(posteriors, 1))
    return errors

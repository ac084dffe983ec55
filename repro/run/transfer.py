"""Linear SVMs on descriptors (Appendix B): C is chosen on held-out training images, then all train.

scikit-learn is imported here alone, when the first SVM is trained.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from repro.data.split import Split
from repro.data.targets import target
from repro.errors import RequestError
from repro.protocol.measures import FIT, HELD_OUT, TEST, Labels, errors
from repro.protocol.protocols import TRANSFERS
from repro.run.request import Request, base_data
from repro.store import scores, views
from repro.store.expected import Expected
from repro.store.folder import Folder
from repro.store.scores import Scores
from repro.store.views import Descriptors

CHOICES = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""The values of C, tried in this order until the error on the held-out images rises; of equally
good ones the first is taken."""
BY = ("recall_error", "ap_area_error")
"""The measures by which C is chosen: where an image has one class, where it has several."""
Floats = NDArray[np.float32]


def check_installed() -> None:
    """Refuse, by a RequestError, to test descriptors where there is no scikit-learn."""
    if find_spec("sklearn") is None:
        said = "a test of descriptors needs scikit-learn"
        raise RequestError(f"{said}: pip install 'vgg-repro[transfer]'")


def unit(rows: Floats) -> Floats:
    """Rows (N, D) divided by their Euclidean norms; zeros stay zeros."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, np.finfo(np.float32).tiny), dtype=np.float32)


def combined(looks: Sequence[Descriptors], stacked: bool) -> Floats:
    """One net's descriptors of several Q, stacked or averaged, and then of length one (N, D)."""
    every = [look.descriptors for look in looks]
    return unit(np.concatenate(every, axis=1) if stacked else np.mean(every, axis=0))


def score(
    request: Request,
    tested: Expected,
    images: Split,
    folder: Folder,
    check: Callable[[], None],
) -> None:
    """Train and test the SVMs whose scores a run lacks, on its stored descriptors; write them."""
    data, partner = base_data(request.config.data), request.partner
    nets = [(request.folder, tested), *([(partner.folder, partner.tested)] if partner else [])]
    for test in request.missing_scores(tested):
        look = TRANSFERS[test.partition("+")[0]]
        wanted = look.views(target(data).qs, data.mirror)
        rows = [[views.read_descriptors(at, one, of) for one in wanted] for at, of in nets]
        parts = target(data).parts(data, images)
        how = parts, tested.classes, check, request.config.progress
        found = replace(classify(look.name, rows, *how), qs=tuple(view.q for view in wanted))
        if partner:
            weights = str(partner.tested.weights)
            found = replace(found, partner=partner.identity, partner_weights=weights)
        folder.write(scores.file_name(test), scores.encode(found, str(tested.weights)))


def classify(
    test: str,
    nets: Sequence[Sequence[Descriptors]],
    parts: NDArray[np.int8],
    classes: int,
    check: Callable[[], None] = lambda: None,
    progress: bool = False,
) -> Scores:
    """Train and test by the splits of `parts`; of each net its views, in the order of their Q.

    The descriptors of several nets, each of length one, are stacked. `check` is called before each
    SVM and may raise.
    """
    rows = unit(np.concatenate([combined(own, TRANSFERS[test].stacked) for own in nets], axis=1))
    first = nets[0][0]
    said, chosen = [], []
    bar = tqdm(total=len(parts) * (len(CHOICES) + 1), unit="SVM", disable=not progress or None)
    with bar:
        for part in parts:
            best, c_best = math.inf, CHOICES[0]
            for c in CHOICES:
                check()
                held = _scores(rows, first.labels, part == FIT, part == HELD_OUT, c, classes)
                loss = errors(first.labels[part == HELD_OUT], held)[BY[first.labels.ndim - 1]][0]
                bar.update()
                if loss > best:
                    # Larger ones take ever longer, and fit the training images ever closer.
                    break
                if loss < best:
                    best, c_best = loss, c
            chosen.append(c_best)
            trained = (part == FIT) | (part == HELD_OUT)
            said.append(_scores(rows, first.labels, trained, part == TEST, chosen[-1], classes))
            bar.update()
    found = first.ids, first.labels, parts, np.array(chosen), tuple(said)
    return Scores(test, (), *found)


def _scores(
    rows: Floats,
    labels: Labels,
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    c: float,
    classes: int,
) -> Floats:
    """What a linear SVM against all other classes, trained on some rows, says of others."""
    if labels.ndim == 1:
        columns: Iterator[Any] = iter([labels[train]])
        there = np.unique(labels[train])
        if len(there) < classes:
            raise RequestError(f"a split trains on {len(there)} of {classes} classes")
    else:
        columns = iter(labels[train].T)
    found = []
    for own in columns:
        # Images that show a class in a difficult way are left out of it.
        counted = own != 0 if labels.ndim > 1 else np.ones(len(own), dtype=bool)
        found.append(_decided(rows[train][counted], own[counted], rows[test], c))
    return np.concatenate(found, axis=1).astype(np.float32)


def _decided(rows: Floats, labels: Labels, others: Floats, c: float) -> NDArray[np.float64]:
    from sklearn.svm import LinearSVC

    kinds = np.unique(labels)
    if len(kinds) < 2:
        # Among a few held-out rows a class may be absent: they say nothing of it.
        return np.zeros((len(others), 1))
    with warnings.catch_warnings():
        # Not converged to scikit-learn's tolerance: as good as it gets in so many steps.
        warnings.simplefilter("ignore")
        machine = LinearSVC(C=c, dual=True, random_state=0).fit(rows, labels)
    said = machine.decision_function(others).reshape(len(others), -1)
    two = said.shape[1] == 1 and not {*kinds.tolist()} <= {-1, 1}
    return np.asarray(np.concatenate([-said, said], axis=1) if two else said)

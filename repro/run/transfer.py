"""Linear SVMs on descriptors (Appendix B): C is chosen on held-out training images, then all train.

scikit-learn is imported here alone, when the first SVM is trained.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from repro.data.split import Split
from repro.data.targets import target
from repro.errors import RequestError
from repro.protocol.measures import FIT, HELD_OUT, TEST, Labels, errors
from repro.protocol.protocols import TRANSFERS
from repro.run.request import Request
from repro.store import scores, views
from repro.store.expected import Expected
from repro.store.folder import Folder
from repro.store.identity import unlabelled
from repro.store.scores import Scores
from repro.store.views import Descriptors

COSTS = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""The values of C, tried in this order until the error on the held-out images rises; of equally
good ones the first is taken."""
BY = ("recall_error", "ap_area_error")
"""The measures by which C is chosen: where an image has one class, where it has several."""
Floats = NDArray[np.float32]


def check_installed() -> None:
    """Refuse, by a RequestError, to test descriptors where there is no scikit-learn."""
    if find_spec("sklearn") is None:
        raise RequestError("descriptors need scikit-learn: pip install 'vgg-repro[transfer]'")


def unit(rows: Floats) -> Floats:
    """Rows (N, D) divided by their Euclidean norms; zeros stay zeros."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, np.finfo(np.float32).tiny), dtype=np.float32)


def combined(looks: Sequence[Descriptors], stacked: bool) -> Floats:
    """One net's descriptors of several Q, stacked or averaged, and then of length one (N, D)."""
    every = [look.descriptors for look in looks]
    return unit(np.concatenate(every, axis=1) if stacked else np.mean(every, axis=0))


def score(
    request: Request, tested: Expected, images: Split, folder: Folder, check: Callable[[], None]
) -> None:
    """Train and test the SVMs whose scores a run lacks, on its stored descriptors; write them."""
    data, partner = unlabelled(request.config.data), request.partner
    nets = [(request.folder, tested), *([(partner.folder, partner.tested)] if partner else [])]
    for test in request.missing_scores(tested):
        look = TRANSFERS[test.partition("+")[0]]
        wanted = look.views(target(data).qs, data.mirror)
        rows = [[views.read_descriptors(at, one, of) for one in wanted] for at, of in nets]
        parts = target(data).parts(data, images)
        how = parts, tested.classes, request.config.threads, check, request.config.progress
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
    threads: int = 1,
    check: Callable[[], None] = lambda: None,
    progress: bool = False,
) -> Scores:
    """Train and test by the splits of `parts`; the descriptors of several nets are stacked."""
    rows = unit(np.concatenate([combined(own, TRANSFERS[test].stacked) for own in nets], axis=1))
    exact, every = rows.astype(np.float64), nets[0][0]
    # A class against all others: where an image has one, it shows no other.
    signs = every.labels if every.labels.ndim > 1 else 2 * np.eye(classes)[every.labels] - 1
    by, said, chosen = BY[every.labels.ndim - 1], [], []

    def scores_of(train: NDArray[np.bool_], out: NDArray[np.bool_], c: float) -> Floats:
        check()
        decide = partial(_decided, exact[train], exact[out], c)
        with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
            # Not converged to scikit-learn's tolerance: as good as it gets in so many steps.
            warnings.simplefilter("ignore")
            return np.stack([*pool.map(decide, signs[train].T)], axis=1).astype(np.float32)

    for part in tqdm(parts, f"SVMs of {test}", unit="split", disable=not progress or None):
        best, taken, held = math.inf, COSTS[0], part == HELD_OUT
        for c in COSTS:
            loss = errors(every.labels[held], scores_of(part == FIT, held, c))[by][0]
            if loss > best:
                # Larger ones take ever longer, and fit the training images ever closer.
                break
            best, taken = (loss, c) if loss < best else (best, taken)
        chosen.append(taken)
        said.append(scores_of((part == FIT) | held, part == TEST, taken))
    return Scores(test, (), every.ids, every.labels, parts, np.array(chosen), tuple(said))


def _decided(
    rows: NDArray[np.float64], others: NDArray[np.float64], c: float, signs: Labels
) -> NDArray[np.float64]:
    """What a linear SVM says of `others` that was trained on rows, without those of sign 0."""
    from sklearn.svm import LinearSVC

    if len(np.unique(signs[signs != 0])) < 2:
        # Among a few images a class may be absent: they say nothing of it.
        return np.zeros(len(others))
    counted = rows if signs.all() else rows[signs != 0]
    machine = LinearSVC(C=c, dual="auto", random_state=0).fit(counted, signs[signs != 0])
    return np.asarray(machine.decision_function(others))

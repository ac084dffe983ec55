"""The model card beside an exported file: what the net is, what it wants, how good it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from repro.errors import flat
from repro.protocol.protocols import ONE_NUMBER, PROTOCOLS, readings, views
from repro.protocol.rescaling import rescaling
from repro.protocol.scales import pixels, single_q
from repro.release.trained import convention, input_mean
from repro.report.deviations import deviations, open_choices
from repro.store import views as stored
from repro.store.runs import Run

PAPER = "[Very Deep Convolutional Networks for Large-Scale Image Recognition]"
TO_FILL = "TO BE FILLED IN: the licence of these weights; that of the images may bear on it"
TOP = 5


def card(run: Run, file: str, loading: str, wants: str, classes: Sequence[str]) -> str:
    """A model card in Markdown, whose parts all follow from the run.

    Args:
        run: the finished run.
        file: the name of the exported file.
        loading: how the file is loaded, as Markdown.
        wants: what the net takes as input and gives, as Markdown.
        classes: what they are called, in the order of the net's outputs.

    Raises:
        RequestError: its views show different images.
    """
    parts = [
        f"---\nlicense: # {TO_FILL}\n---\n",
        f"# {run.name}\n",
        _summary(run, file),
        f"## Loading\n\n{loading}",
        f"## Input\n\n{wants}",
        f"## Data\n\n{_data(run)}",
        f"## Training\n\n{_training(run)}",
        f"## Errors\n\n{_errors(run)}",
        f"## Where it departs from the paper\n\n{_deviations(run)}",
        f"## Classes\n\n{_classes(classes)}",
        f"## Licence\n\n{TO_FILL}.\n",
    ]
    return "\n".join(parts)


def _summary(run: Run, file: str) -> str:
    size = run.config.size
    whose = (
        "trained anew by this suite; not the authors' weights"
        if run.published is None
        else f"of a file by {_cell(run.published['format'])} that others published; only tested by "
        "this suite"
    )
    width = "" if size.width == 1 else f", {size.width:g} of the width"
    return (
        f"Configuration {_name(run.config.arch.name)} of Simonyan and Zisserman's "
        f"{PAPER}(https://arxiv.org/abs/1409.1556) at size {_name(size.name)} (crop of {size.crop} "
        f"pixels{width}), {run.result.get('parameters', 0):,} parameters, "
        f"{whose}. `{flat(file)}` holds the net.\n"
    )


def _name(name: str) -> str:
    return f"`{name}`"


def input_lines(run: Run) -> tuple[str, str]:
    """The net's input, as a sentence and as lines of Python from decoded images."""
    if run.published is not None:
        return _published_input(run)
    config = run.config
    mean, scale = input_mean(run), config.recipe.input_range
    said = ", ".join(f"{value:.6g}" for value in mean)
    share = "" if scale == 255 else f", times {scale:g}/255"
    crop = config.size.crop
    kind = "RGB" if config.data.channels == 3 else "grey"
    sentence = (
        f"Float32 (N, {config.data.channels}, {crop}, {crop}): grey levels 0-255 of {kind} images, "
        f"minus {said}{share}. This is not torchvision's convention (0-1, ImageNet's mean and "
        "standard deviation): its transforms give other errors with this net.\n"
    )
    code = (
        f"mean = torch.tensor({list(mean)!r}).view(1, -1, 1, 1)\n"
        f"values = (images.float() - mean) * {scale / 255!r}  # images: uint8 (N, C, H, W)\n"
    )
    return sentence, code


def _published_input(run: Run) -> tuple[str, str]:
    wanted, crop = convention(run), run.config.size.crop
    mean, std = (", ".join(f"{value:.6g}" for value in v) for v in (wanted.mean, wanted.std))
    sentence = (
        f"Float32 (N, {len(wanted.mean)}, {crop}, {crop}): {wanted.order} images in 0 to "
        f"{wanted.input_range:g}, minus {mean}, divided by {std}.\n"
    )
    swapped = "[:, [2, 1, 0]]" if wanted.order == "BGR" else ""
    code = (
        f"mean = torch.tensor({list(wanted.mean)!r}).view(1, -1, 1, 1)\n"
        f"std = torch.tensor({list(wanted.std)!r}).view(1, -1, 1, 1)\n"
        "# images: uint8 (N, C, H, W), RGB or grey\n"
        f"values = (images{swapped}.float() * {wanted.input_range / 255!r} - mean) / std\n"
    )
    return sentence, code


def resizing(run: Run) -> str:
    """How an image comes to the crop's size, in a sentence."""
    config = run.config
    side = pixels(single_q(config.scale), config.size.crop)
    shape = "both sides" if rescaling(config.recipe.resize).square else "the smallest side"
    return (
        f"Images are rescaled to {side} pixels ({shape}, bilinear with antialiasing, to whole grey "
        f"levels) and the centre crop of {config.size.crop} is taken. Maps are pooled rounding up, "
        "which matters for inputs of other sizes only.\n"
    )


def _data(run: Run) -> str:
    data, config = run.result["data"], run.config.data
    if run.published is not None:
        return (
            f"Tested on {data['test']:,} images of {data['classes']} classes of "
            f"{_name(config.name)}. What it was trained on is not known here.\n"
        )
    lines = [
        f"{_name(config.name)}: {data['train']:,} training, {data['validation']:,} validation and "
        f"{data['test']:,} test images of {data['classes']} classes."
    ]
    if config.mirror:
        lines.append("Training images are mirrored at random.")
    if data["validation_is_test"]:
        lines.append("The validation images are the test images.")
    if data.get("left_out"):
        lines.append(f"{data['left_out']:,} files that cannot be decoded are left out.")
    return " ".join(lines) + "\n"


def _training(run: Run) -> str:
    if run.published is not None:
        return f"Not by this suite. SHA-256 of the file: `{run.published['sha256']}`.\n"
    config, result = run.config, run.result
    recipe, environment = config.recipe, result["environment"]
    scale = config.scale
    s = f"{scale.smin}" if scale.smin == scale.smax else f"[{scale.smin}; {scale.smax}]"
    dirty = " with changes that are not committed" if environment.get("git_dirty") else ""
    commit = environment.get("git_commit")
    rows = [
        ("outcome", f"{result['outcome']} after {result['epochs']} epochs"),
        ("recipe", f"{_name(recipe.name)}: {recipe.optimiser}, batch {recipe.batch}, learning rate "
         f"{recipe.learning_rate:g}, momentum {recipe.momentum:g}, weight decay "
         f"{recipe.weight_decay:g}, dropout {recipe.dropout:g}, schedule {recipe.schedule}"),
        ("training scale S", f"{s} in the paper's pixels ({_name(scale.name)})"),
        ("initialisation", _name(config.init.name)),
        ("seed", str(config.seed)),
        ("precision", config.precision),
        ("run", f"`{run.identity}`, starting from {_parents(run)}"),
        ("commit", f"`{flat(str(commit))}`{dirty}" if commit else "not known"),
        ("torch", flat(str(environment.get("torch")))),
    ]  # fmt: skip
    return _table(("", ""), rows)


def _parents(run: Run) -> str:
    parents = run.result.get("parents") or {}
    return ", ".join(f"`{flat(str(name))}`" for name in parents.values()) or "its own first weights"


def _errors(run: Run) -> str:
    """The errors of the protocols whose views are stored, with n and interval."""
    rows = list(_measured(run))
    if not rows:
        return "None was measured.\n"
    unseen = "that it was not trained on" if run.published is None else "named above"
    note = (
        f"\nOf this one net, on images {unseen}; the interval (95%, Wilson) is "
        "over test images, not over seeds.\n"
    )
    return _table(("protocol", "Q (paper pixels)", "metric", "error (%)", "95% interval", "n"),
                  rows) + note  # fmt: skip


def _measured(run: Run) -> Iterator[tuple[str, ...]]:
    config = run.config
    for protocol in ONE_NUMBER:
        wanted = views(protocol, config.scale, config.data.mirror)
        mean = stored.mean_of(run.folder, wanted, run.tested)
        if mean is None:
            continue
        qs = ", ".join(map(str, readings(protocol, config.scale)[0]))
        for k in (1, TOP) if run.result["data"]["classes"] > TOP else (1,):
            low, error, high = stored.interval(stored.wrong(mean, k))
            name = f"`{protocol}` (Section {PROTOCOLS[protocol].section})"
            yield (name, qs, f"top-{k}", f"{error:.2f}", f"{low:.2f} to {high:.2f}",
                   f"{len(mean.labels):,}")  # fmt: skip


def _deviations(run: Run) -> str:
    if run.published is not None:
        return "How it was trained is not known here; its layers are the configuration's.\n"
    table = _table(("section", "here", "the paper"), deviations(run))
    chosen = "\n".join(f"- {line}" for line in open_choices(run))
    return f"{table}\nWhat the paper leaves open:\n\n{chosen}\n"


def _classes(names: Sequence[str]) -> str:
    listed = "; ".join(f"{number} {_cell(name)}" for number, name in enumerate(names))
    return f"In the order of the net's outputs: {listed}.\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    # What a folder or a stored file says becomes neither a cell nor a tag.
    return text.replace("|", "\\|").replace("<", "&lt;")

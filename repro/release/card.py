"""The model card beside an exported file: what the net is, what it wants, how good it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from repro.errors import flat
from repro.protocol.protocols import ONE_NUMBER, PROTOCOLS, readings, views
from repro.protocol.rescaling import rescaling
from repro.protocol.scales import pixels, single_q
from repro.release.trained import convention
from repro.report.deviations import deviations
from repro.store import views as stored
from repro.store.runs import Run

TO_FILL = "TO BE FILLED IN: the licence of these weights; that of the images may bear on it"
TOP = 5
CARD = """\
---
license: # {to_fill}
---

# {name}

Configuration `{arch}` of Simonyan and Zisserman's [Very Deep Convolutional Networks for Large-Scale
Image Recognition](https://arxiv.org/abs/1409.1556) at size `{size}` (crop of {crop} pixels{width}),
{parameters:,} parameters, {whose}. `{file}` holds the net.

## Loading

{loading}
## Input

{wants}
## Data

{data}

## Training

{training}
## Errors

{errors}
## Where it departs from the paper

{departs}
## Classes

In the order of the net's outputs: {classes}.

## Licence

{to_fill}.
"""


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
    size, known = run.config.size, run.published
    if known is None:
        whose = "trained anew by this suite; not the authors' weights"
        training, departs = _training(run), _departs(run)
    else:
        whose = f"of a file by {_cell(known['format'])} that others published; only tested here"
        training = f"Not by this suite. SHA-256 of the file: `{known['sha256']}`.\n"
        departs = "How it was trained is not known here; its layers are the configuration's.\n"
    return CARD.format(
        to_fill=TO_FILL,
        name=run.name,
        arch=run.config.arch.name,
        size=size.name,
        crop=size.crop,
        width="" if size.width == 1 else f", {size.width:g} of the width",
        parameters=run.result.get("parameters", 0),
        whose=whose,
        file=flat(file),
        loading=loading,
        wants=wants,
        data=_data(run),
        training=training,
        errors=_errors(run),
        departs=departs,
        classes="; ".join(f"{number} {_cell(name)}" for number, name in enumerate(classes)),
    )


def tensors(run: Run) -> str:
    """The input of a net without its preprocessing: a sentence, and Python from decoded images."""
    wanted, crop = convention(run), run.config.size.crop
    mean, std = (", ".join(f"{value:.6g}" for value in v) for v in (wanted.mean, wanted.std))
    divided = "" if set(wanted.std) == {1.0} else f", divided by {std}"
    own = (
        " This is not torchvision's convention: its transforms give other errors with this net."
        if run.published is None
        else ""
    )
    swapped = "[:, [2, 1, 0]]" if wanted.order == "BGR" else ""
    return (
        f"Float32 (N, {len(wanted.mean)}, {crop}, {crop}): {wanted.order} images in 0 to "
        f"{wanted.input_range:g}, minus {mean}{divided}.{own}\n\n```python\n"
        f"mean = torch.tensor({list(wanted.mean)!r}).view(1, -1, 1, 1)\n"
        f"std = torch.tensor({list(wanted.std)!r}).view(1, -1, 1, 1)\n"
        "# images: uint8 (N, C, H, W), RGB or grey\n"
        f"values = (images{swapped}.float() * {wanted.input_range / 255!r} - mean) / std\n"
        f"posteriors = net(values).softmax(dim=1)\n```\n\n{_resizing(run)}"
    )


def decoded(run: Run) -> str:
    """The input of a graph that holds its preprocessing, and what it gives."""
    channels, crop = run.config.data.channels, run.config.size.crop
    return (
        f"`images`: uint8 (N, {channels}, H, W), {'RGB' if channels == 3 else 'grey'} images as "
        f"they are decoded, H and W at least {crop}. The mean and the scale are inside the graph. "
        "`posteriors`: (N, classes), the soft-max of the class score map averaged over space "
        "(dense evaluation, Section 3.2). `score_map`: (N, classes, rows, columns), before the "
        f"soft-max; one cell for images of {crop}x{crop}.\n\n{_resizing(run)}"
    )


def _resizing(run: Run) -> str:
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
            f"Tested on {data['test']:,} images of {data['classes']} classes of `{config.name}`. "
            "What it was trained on is not known here."
        )
    lines = [
        f"`{config.name}`: {data['train']:,} training, {data['validation']:,} validation and "
        f"{data['test']:,} test images of {data['classes']} classes."
    ]
    if config.mirror:
        lines.append("Training images are mirrored at random.")
    if data["validation_is_test"]:
        lines.append("The validation images are the test images.")
    if data.get("left_out"):
        lines.append(f"{data['left_out']:,} files that cannot be decoded are left out.")
    return " ".join(lines)


def _training(run: Run) -> str:
    config, result = run.config, run.result
    recipe, environment, scale = config.recipe, result["environment"], config.scale
    s = f"{scale.smin}" if scale.smin == scale.smax else f"[{scale.smin}; {scale.smax}]"
    dirty = " with changes that are not committed" if environment.get("git_dirty") else ""
    commit = environment.get("git_commit")
    parents = ", ".join(f"`{flat(str(name))}`" for name in (result.get("parents") or {}).values())
    rows = [
        ("outcome", f"{result['outcome']} after {result['epochs']} epochs"),
        ("recipe", f"`{recipe.name}`: {recipe.optimiser}, batch {recipe.batch}, learning rate "
         f"{recipe.learning_rate:g}, momentum {recipe.momentum:g}, weight decay "
         f"{recipe.weight_decay:g}, dropout {recipe.dropout:g}, schedule {recipe.schedule}"),
        ("training scale S", f"{s} in the paper's pixels (`{scale.name}`)"),
        ("initialisation", f"`{config.init.name}`"),
        ("seed", str(config.seed)),
        ("precision", config.precision),
        ("run", f"`{run.identity}`, starting from {parents or 'its own first weights'}"),
        ("commit", f"`{flat(str(commit))}`{dirty}" if commit else "not known"),
        ("torch", flat(str(environment.get("torch")))),
    ]  # fmt: skip
    return _table(("", ""), rows)


def _errors(run: Run) -> str:
    """The errors of the protocols whose views are stored, with n and interval."""
    rows = list(_measured(run))
    if not rows:
        return "None was measured.\n"
    unseen = "that it was not trained on" if run.published is None else "named above"
    header = ("protocol", "Q (paper pixels)", "metric", "error (%)", "95% interval", "n")
    return _table(header, rows) + (
        f"\nOf this one net, on images {unseen}; the interval (95%, Wilson) is over test images, "
        "not over seeds.\n"
    )


def _measured(run: Run) -> Iterator[tuple[str, ...]]:
    scale = run.config.scale
    for protocol in ONE_NUMBER:
        mean = stored.mean_of(
            run.folder, views(protocol, scale, run.config.data.mirror), run.tested
        )
        if mean is None:
            continue
        qs = ", ".join(map(str, readings(protocol, scale)[0]))
        name = f"`{protocol}` (Section {PROTOCOLS[protocol].section})"
        for k in (1, TOP) if run.result["data"]["classes"] > TOP else (1,):
            low, error, high = stored.interval(stored.wrong(mean, k))
            numbers = (f"{error:.2f}", f"{low:.2f} to {high:.2f}", f"{len(mean.labels):,}")
            yield (name, qs, f"top-{k}", *numbers)


def _departs(run: Run) -> str:
    return _table(("section", "here", "the paper"), deviations(run))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    # What a folder or a stored file says becomes neither a cell nor a tag.
    return text.replace("|", "\\|").replace("<", "&lt;")

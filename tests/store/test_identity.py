import pytest

from repro.errors import RequestError
from repro.run.resolving import resolve
from tests.conftest import Compose


def identity(compose: Compose, *overrides: str) -> str:
    return resolve(compose(*overrides)).identity


HOW = (
    "device=cpu workers=3 micro_batch=4 channels_last=false threads=1 progress=false "
    "test=[centre] test_batch=7 compile=default track=tensorboard"
)
WHAT = (
    "arch=B scale=S384 size=tiny recipe.input_range=1 recipe.epochs=9 init=he precision=bf16 "
    "seed=1 data.holdout=0.2 arch.batch_norm=true recipe.train_images=100"
)


@pytest.mark.parametrize("override", HOW.split())
def test_how_it_is_computed_does_not_change_what_it_is(compose: Compose, override: str) -> None:
    assert identity(compose, override) == identity(compose)


@pytest.mark.parametrize("override", WHAT.split())
def test_what_can_change_the_result_changes_the_identity(compose: Compose, override: str) -> None:
    assert identity(compose, override) != identity(compose)


def test_the_way_a_number_is_typed_does_not(compose: Compose) -> None:
    assert identity(compose, "seed=00") == identity(compose, "seed=0")
    assert identity(compose, "recipe.input_range=255.0") == identity(compose)
    assert identity(compose, "init=glorot") == identity(compose), "it is this recipe's own"


def test_a_child_knows_its_parents(compose: Compose) -> None:
    child = resolve(compose("arch=D", "scale=jitter"))
    names = [member.name.split("-eighth")[0] for member in child.lineage()]
    assert names == ["D-S256", "D-S384", "D-jitter"]
    assert child.parents["scale"].identity == identity(compose, "arch=D", "scale=S384")
    from_a = resolve(compose("arch=E", "init=from_A"))
    assert from_a.parents["init"].identity == identity(compose, "arch=A")


def test_changed_settings_never_share_a_name(compose: Compose) -> None:
    changed = resolve(compose("recipe.learning_rate=0.02", "arch.batch_norm=true")).config
    assert changed.recipe.name == "quick+learning_rate=0.02"
    assert changed.arch.name == "A+batch_norm=true"
    assert resolve(compose()).config.recipe.name == "quick"
    again = resolve(changed)
    assert again.config == changed, "resolving what is resolved changes nothing"


def test_from_a_is_refused_where_it_is_not_defined(compose: Compose) -> None:
    for arch in ("A", "B-5x5", "alexnet"):
        with pytest.raises(RequestError, match="init=from_A"):
            resolve(compose(f"arch={arch}", "init=from_A"))

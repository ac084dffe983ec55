import copy

import pytest

from repro.errors import RequestError
from repro.run.resolving import resolve
from repro.store.identity import tell_apart
from tests.conftest import composed


def identity(*overrides: str) -> str:
    return resolve(composed(*overrides)).identity


HOW = (
    "device=cpu workers=3 micro_batch=4 channels_last=false threads=1 progress=false "
    "test=[centre] test_batch=7 compile=default track=tensorboard"
)
WHAT = (
    "arch=B scale=S384 size=tiny recipe.input_range=1 recipe.epochs=9 init=he precision=bf16 "
    "seed=1 data.holdout=0.2 arch.batch_norm=true recipe.train_images=100"
)


@pytest.mark.parametrize("override", HOW.split())
def test_how_it_is_computed_does_not_change_what_it_is(override: str) -> None:
    assert identity(override) == identity()


@pytest.mark.parametrize("override", WHAT.split())
def test_what_can_change_the_result_changes_the_identity(override: str) -> None:
    assert identity(override) != identity()


def test_the_way_a_number_is_typed_does_not() -> None:
    assert identity("seed=00") == identity("seed=0")
    assert identity("recipe.input_range=255.0") == identity()
    assert identity("init=glorot") == identity(), "it is this recipe's own"


def test_a_child_knows_its_parents() -> None:
    child = resolve(composed("arch=D", "scale=jitter"))
    names = [member.name.split("-eighth")[0] for member in child.lineage()]
    assert names == ["D-S256", "D-S384", "D-jitter"]
    assert child.parents["scale"].identity == identity("arch=D", "scale=S384")
    from_a = resolve(composed("arch=E", "init=from_A"))
    assert from_a.parents["init"].identity == identity("arch=A")


def test_changed_settings_never_share_a_name() -> None:
    changed = resolve(composed("recipe.learning_rate=0.02", "arch.batch_norm=true")).config
    assert changed.recipe.name == "quick+learning_rate=0.02"
    assert changed.arch.name == "A+batch_norm=true"
    assert resolve(composed()).config.recipe.name == "quick"
    again = resolve(changed)
    assert again.config == changed, "resolving what is resolved changes nothing"


def test_data_of_two_fingerprints_never_share_a_name() -> None:
    one, other = composed("data.name=mine", "data.source=mnist5k"), composed("data.name=mine")
    other.data = copy.deepcopy(one.data)
    tell_apart([(one, "a" * 64), (other, "b" * 64)])
    assert one.data.name != other.data.name
    same = composed(), composed()
    tell_apart([(config, "") for config in same])
    assert {config.data.name for config in same} == {"mnist5k"}


def test_from_a_is_refused_where_it_is_not_defined() -> None:
    for arch in ("A", "B-5x5", "alexnet"):
        with pytest.raises(RequestError, match="init=from_A"):
            resolve(composed(f"arch={arch}", "init=from_A"))

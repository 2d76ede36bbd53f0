"""Settings that a study uses are those that its tuning prefers, and no study begins before its tuning is complete."""

import pandas as pd
import pytest

from bnnlib.studies import (
    cifar,
    fashion,
    get,
    ideas,
    regularisation,
    speaker_gender,
    store_of,
    wake_word,
    widths,
    words,
)


def tuned(study, final, by, figure="validation_accuracy", ties="first"):
    """The tuning's best run of each arm whose tuning is whole: of equals the first of the grid, or, by "loss", the one
    with the smaller validation loss."""
    runs = get(study).runs
    table = store_of(study).runs()
    if not len(table):
        assert not store_of(final).finished(), "the final runs have begun before the tuning"
        pytest.skip(f"{study} has not begun")
    table = table.loc[[run.id for run in runs if run.id in table.index]]
    wanted = pd.DataFrame({"arm": [run.arm for run in runs]}).pipe(by).value_counts()
    whole = {arm for arm, count in by(table).value_counts().items() if count == wanted[arm]}
    if whole != set(wanted.index):
        begun = set(store_of(final).runs().get("arm", ()))
        assert begun <= whole, "final runs have begun although their tuning is not complete"
    if not whole:
        pytest.skip(f"{study} has no arm that is complete")
    if ties == "loss":
        last = store_of(study).epochs().groupby("run").last()["validation_loss"]
        table = table.assign(loss=last).sort_values("loss", kind="stable")
    best = table.loc[table.groupby(by(table), sort=False)[figure].idxmax()]
    best = best.set_index(by(best))
    return best[best.index.isin(whole)]


def without_rate(runs):
    return runs["arm"].str.rsplit(", ", n=1).str[0]


@pytest.mark.parametrize(
    ("module", "figure", "ties"),
    [
        (ideas, "validation_accuracy", "first"),
        (widths, "validation_accuracy", "first"),
        (words, "validation_accuracy", "first"),
        (wake_word, "validation_balanced_accuracy", "first"),
        (speaker_gender, "validation_balanced_accuracy", "loss"),
    ],
    ids=["ideas", "widths", "words", "wake-word", "speaker-gender"],
)
def test_each_method_has_the_rate_that_its_tuning_prefers_inside_the_grid(module, figure, ties):
    best = tuned(module.TUNING.name, module.METHODS.name, without_rate, figure, ties)["learning_rate"]
    assert best.to_dict() == {arm: module.TUNED[arm] for arm in best.index}
    for arm, rate in best.items():
        rates = module.RATES[arm] if isinstance(module.RATES, dict) else module.RATES
        assert min(rates) < rate < max(rates), f"the best rate of {arm} lies on the edge of its grid"


def test_each_regulariser_has_the_rate_and_loss_that_its_tuning_prefers_at_each_size():
    best = tuned(
        "regularisation-tuning", "regularisation", lambda runs: runs["arm"].str.split(", ").str[:2].str.join(", ")
    )
    loss = best["arm"].str.rsplit(", ", n=1).str[1]
    found = {name: (best.loc[name, "learning_rate"], loss[name]) for name in best.index}
    wanted = {f"{arm}, {size}": cell for size, arms in regularisation.TUNED.items() for arm, cell in arms.items()}
    assert found == {arm: wanted[arm] for arm in found}
    assert found
    assert min(regularisation.RATES) < best["learning_rate"].min()
    assert best["learning_rate"].max() < max(regularisation.RATES)


def test_the_arms_of_fashion_mnist_are_what_the_grid_prefers():
    best = tuned("fashion-grid", "fashion-headline", lambda runs: runs["arm"].str.split(", ").str[0])
    float_run = next(run for run in ideas.METHODS.runs if run.arm == "float")
    for run in (*fashion.HEADLINE.runs, float_run):
        cell = (run.settings.learning_rate, run.data_options.get("augment", "none"), run.build_method().loss)
        assert f"{run.arm}, {cell[0]:g}, {cell[1]}, {cell[2]}" == best.loc[run.arm, "arm"]
    assert min(fashion.RATES) < best["learning_rate"].min() <= best["learning_rate"].max() < max(fashion.RATES)


def test_networks_on_cifar_have_the_rate_that_their_tuning_prefers_inside_the_grids():
    best = tuned("cifar-tuning", "cifar-branches", without_rate)["learning_rate"]
    assert best.to_dict() == {arm: cifar.TUNED[arm] for arm in best.index}
    assert min(cifar.RATES) < best.min() <= best.max() < max(cifar.RATES)


@pytest.mark.parametrize(
    ("study", "final"),
    [
        ("cifar-decay", "cifar-carry-over"),
        ("cifar-mobilenet-decay", "cifar-mobilenet"),
        ("cifar-methods-decay", "cifar-methods"),
    ],
)
def test_networks_on_cifar_have_the_decay_that_their_tuning_prefers_inside_the_grids(study, final):
    decays = tuned(study, final, without_rate)["weight_decay"]
    assert decays.to_dict() == {arm: cifar.DECAY[arm] for arm in decays.index}
    for arm, decay in decays.items():
        assert decay < max(cifar.ALONE if arm.endswith("alone") else cifar.DECAYS)  # the least is none


@pytest.mark.parametrize("arm", [*cifar.ARMS, *cifar.OTHERS, *cifar.MOBILENETS])
def test_networks_on_cifar_are_augmented_as_their_tuning_prefers(arm):
    """Beside the decay (or rate, of MobileNetV2) that was tuned with augmentation; without it, the same."""
    study, final, of = ("cifar-methods-decay", "cifar-methods", cifar.DECAY)
    if arm in cifar.ARMS:
        study, final = "cifar-decay", "cifar-branches"
    elif arm in cifar.MOBILENETS:
        study, final, of = "cifar-tuning", "cifar-branches", cifar.TUNED
    found = {}
    for name, choice, suffix in (
        (study, cifar.AUGMENT, f"{of[arm]:g}"),
        ("cifar-augmentation", "none", "none"),
    ):
        table = store_of(name).runs()
        grid = {run.arm for run in get(name).runs if run.arm.startswith(f"{arm}, ")}
        if not grid <= set(table.get("arm", ())):
            assert arm not in set(store_of(final).runs().get("arm", ())), "final runs have begun before their tuning"
            pytest.skip(f"{name} is not whole for {arm}")
        found[choice] = table.set_index("arm").loc[f"{arm}, {suffix}", "validation_accuracy"]
    assert max(found, key=found.get) == cifar.AUGMENTED[arm]

"""Settings that a study uses are those that its tuning prefers, and no study begins before its tuning is complete."""

from bnnlib.studies import get, ideas, store_of


def test_each_idea_has_the_rate_that_its_tuning_prefers_inside_the_grid():
    tuning, final = store_of("ideas-tuning"), store_of("ideas")
    if len(tuning.finished()) < len(get("ideas-tuning").runs):
        assert not final.finished(), "the final runs have begun although the tuning is not complete"
        return
    runs = tuning.runs().sort_values("learning_rate", kind="stable")
    best = runs.loc[runs.groupby("method")["validation_accuracy"].idxmax()].set_index("method")["learning_rate"]
    assert best.to_dict() == ideas.TUNED
    assert min(ideas.RATES) < best.min() <= best.max() < max(ideas.RATES)

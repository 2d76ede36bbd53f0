"""The stored all-binary network on every sentence of the corpus's test speakers, where the corpus is at hand."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bnnlib import data, models, studies
from bnnlib.packed.biometrics import SignNetwork


def test_four_roads_give_the_stored_class_of_every_test_sentence(tmp_path):
    store = studies.results("speaker-gender")
    run = next(run for run in studies.get("speaker-gender").runs if run.arm == "all-binary, all")
    try:
        test = data.load("SpeakerGender", "full", **run.data_options).test
    except data.DataNotFound:
        pytest.skip("speechocean762 is not here")
    net = models.build(run.model, run.method, **run.model_options)
    net.load_state_dict(load_file(store.latent_file(run.id)))
    packed = net.eval().sign_network()
    packed.write_text(tmp_path / "weights.txt")
    back = SignNetwork.read_text(tmp_path / "weights.txt")
    outputs = store.outputs(run.id)
    stored = dict(zip(outputs["test_ids"].tolist(), outputs["test_predicted"].tolist(), strict=True))
    assert len(stored) == len(test) == 1220
    for row in range(len(test)):
        inputs = test.inputs(torch.tensor([row]))
        codes = (32 * inputs[0].numpy()).astype(np.int8)
        with torch.no_grad():
            scores = net(inputs)[0]
        roads = {
            int(scores[1] > scores[0]),
            packed.predict(codes),
            back.predict(codes),
            int(packed.reference_score(codes) > 0),
        }
        assert roads == {stored[int(test.ids[row])]}, f"sentence {int(test.ids[row])}: {roads}"

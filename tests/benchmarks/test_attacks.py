"""What an attacker finds, as columns of a row."""

from dataclasses import replace

import torch

from benchmarks.attacks import deep


def test_where_siblings_bear_the_name_only_the_embedding_is_asked(mini, colours):
    sets = colours.on(mini)
    named = deep(mini, mini, sets, sets.validation, sets.test)
    assert {"offset recall", "AUROC against siblings", "membership AUROC", "probe recall", "statistics anew"} <= set(
        named
    )
    assert 0 <= named["AUROC against all"] <= 1 and 0 <= named["prototype recall"] <= 100
    one = replace(sets, retain=replace(sets.retain, labels=torch.zeros_like(sets.retain.labels) + sets.labels[0]))
    assert one.own_labels == [] and sets.own_labels == sets.labels
    found = deep(mini, mini, one, sets.validation, sets.test)
    assert set(found) == {"AUROC against siblings", "20-NN recall", "prototype recall", "probe recall", "probe beneath"}
    assert all(found[name] == named[name] for name in found)

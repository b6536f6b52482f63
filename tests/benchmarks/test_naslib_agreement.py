from __future__ import annotations

import naslib_agreement
import numpy as np


def test_samples_of_one_distribution_agree_and_others_do_not() -> None:
    rng = np.random.default_rng(0)
    one, same, other = rng.normal(94, 0.3, 30), rng.normal(94, 0.3, 30), rng.normal(93.5, 0.3, 30)
    result = naslib_agreement.compare(one, same)
    assert result["agree"] and abs(result["spread"] - 0.3) < 0.1
    assert not naslib_agreement.compare(one, other)["agree"]


def test_the_table_has_both_accuracies_of_both_datasets() -> None:
    values = {"told": [1.0, 2.0], "test": [1.0, 2.5]}
    methods = {naslib_agreement.OURS: values, naslib_agreement.THEIRS: values}
    text = naslib_agreement.table({"cifar10": methods, "imagenet16-120": methods})
    assert text.count("agree |") == 4 and "+0.00 ± " in text

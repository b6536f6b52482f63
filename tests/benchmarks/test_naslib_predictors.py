from __future__ import annotations

import naslib_predictors


def test_the_aim_is_judged_by_spearman() -> None:
    def results(spearman: float) -> list[dict[str, float]]:
        return [{"spearman": spearman + d, "kendalltau": 0.5, "pearson": 0.5, "fit_time": 0.1} for d in (-0.1, 0.1)]

    good = {name: results(0.6) for name in naslib_predictors.CASES} | {naslib_predictors.FIRST: results(0.8)}
    bad = good | {naslib_predictors.FIRST: results(0.3)}
    text = naslib_predictors.table({"cifar10": good, "imagenet16-120": bad})
    assert "met (0.800 and 0.600; above in 2 of 2 seeds)" in text
    assert "missed (0.300 and 0.600; above in 0 of 2 seeds)" in text


def test_the_notes_say_what_the_images_change() -> None:
    def results(spearman: float) -> list[dict[str, float]]:
        return [{"spearman": spearman, "kendalltau": 0.5, "pearson": 0.5}] * 3

    found = {"cifar10": {naslib_predictors.FIRST: results(0.8), naslib_predictors.BLIND: results(0.81234)}}
    text = naslib_predictors.notes(found, 3, 200)
    assert "of 3 seeds" in text and "no mean changes by more than 0.0124." in text

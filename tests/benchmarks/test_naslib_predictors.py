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

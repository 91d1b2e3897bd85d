"""Categories and iIoU against cityscapesScripts' own evaluation of files, and against their definition in float64."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official_evaluation  # noqa: N813
from cityscapesscripts.helpers.labels import category2labels
from cityscapesscripts.helpers.labels import labels as cityscapes_labels
from PIL import Image

from database.classes import CITYSCAPES_CATEGORIES, CITYSCAPES_CLASSES, CITYSCAPES_LABEL_MAP
from database.loading import to_train_ids
from tools.prediction.cityscapes_scores import CityscapesScores

SIZES = ((64, 96), (50, 33), (80, 71))
LABEL_IDS = {label.name: label.id for label in cityscapes_labels}
THINGS = [label.id for label in cityscapes_labels if label.hasInstances]
# Nothing of them is in the labels; the first is predicted.
NEVER_TRUE, NEVER_AT_ALL = "bus", "train"


def scene(rng, size):
    """Returns label ids and instance ids of blocks of random labels; some of the things are groups, not instances."""
    absent = {LABEL_IDS[NEVER_TRUE], LABEL_IDS[NEVER_AT_ALL]}
    ids = [label.id for label in cityscapes_labels if label.id >= 0 and label.id not in absent]
    labels, instances = np.zeros(size, np.uint8), np.zeros(size, np.uint16)
    for number in range(60):
        top, left = (rng.integers(0, side) for side in size)
        area = slice(top, top + rng.integers(3, 20)), slice(left, left + rng.integers(3, 20))
        label_id = rng.choice([*ids, *THINGS[:3]] if number > 30 else ids)
        if label_id in absent:
            continue
        labels[area] = label_id
        is_group = label_id not in THINGS or rng.random() < 0.2
        instances[area] = label_id if is_group else label_id * 1000 + number
    return labels, instances


def noisy(rng, labels, ignored_too):
    """Returns predicted label ids: right for about 7 of 10 pixels; with `ignored_too`, some of ignored labels."""
    ids = [label.id for label in cityscapes_labels
           if label.id >= 0 and label.name != NEVER_AT_ALL and (ignored_too or not label.ignoreInEval)]  # fmt: skip
    kept = np.isin(labels, ids) & (rng.random(labels.shape) < 0.7)
    return np.where(kept, labels, rng.choice(ids, labels.shape)).astype(np.uint8)


@pytest.fixture(scope="module", params=[False, True], ids=["classes", "ignored_too"])
def scenes(request):
    rng = np.random.default_rng(3)
    labelled = [scene(rng, size) for size in SIZES]
    return [(labels, instances, noisy(rng, labels, request.param)) for labels, instances in labelled]


def scored(scenes):
    scores = CityscapesScores()
    for labels, instances, predicted in scenes:
        scores.process(to_train_ids(labels, CITYSCAPES_LABEL_MAP, "label"), predicted, instances)
    return scores


def official_scores(folder, scenes):
    """Scores files in the layout of Cityscapes with cityscapesScripts."""
    arguments = copy.copy(official_evaluation.args)
    arguments.JSONOutput, arguments.quiet, arguments.predictionPath = False, True, str(folder / "results")
    paths = []
    for number, (labels, instances, predicted) in enumerate(scenes):
        name = f"aachen_{number:06d}_000019"
        files = {
            f"gtFine/val/aachen/{name}_gtFine_labelIds.png": labels,
            f"gtFine/val/aachen/{name}_gtFine_instanceIds.png": instances,
            f"results/{name}_prediction.png": predicted,
        }
        for path, array in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / path)
        paths.append(str(folder / f"gtFine/val/aachen/{name}_gtFine_labelIds.png"))
    predictions = [official_evaluation.getPrediction(arguments, path) for path in paths]
    return official_evaluation.evaluateImgLists(predictions, paths, arguments)


def check_equal(own, expected):
    """Checks scores of ours, None without any, against others, nan without any; returns the largest difference."""
    assert [one is None for one in own] == [math.isnan(other) for other in expected]
    largest = max((abs(one - other) for one, other in zip(own, expected, strict=True) if one is not None), default=0.0)
    assert largest < 1e-12
    return largest


def test_categories_and_instances_score_what_cityscapesscripts_says(scenes, tmp_path, record_property, monkeypatch):
    # Version 2.3.0 calls it, and NumPy 2.4 has it no longer.
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    official = official_scores(tmp_path, scenes)
    classes, categories = scored(scenes).sections()
    differences = [check_equal([classes.means[1]], [official["averageScoreInstClasses"]])]
    for column, kind in enumerate(("", "Inst")):
        for section, of in ((classes, "class"), (categories, "category")):
            own = [row[column] for row in section.rows.values()]
            differences.append(check_equal(own, [official[f"{of}{kind}Scores"][name] for name in section.rows]))
        differences.append(check_equal([categories.means[column]], [official[f"averageScore{kind}Categories"]]))
    record_property(
        "IoU and iIoU of categories and of classes with instances, and their means", float(max(differences))
    )
    assert classes.rows[NEVER_AT_ALL] == (None, None)
    assert classes.rows[NEVER_TRUE] == (0, 0)
    assert classes.rows["person"][0] != classes.rows["person"][1]


def test_scores_are_their_definition_in_float64():
    """Section 4.1 of Cordts et al.: iTP and iFN weight the pixels of instances, FP are not weighted."""
    rng = np.random.default_rng(5)
    labels, instances = scene(rng, (90, 110))
    predicted = noisy(rng, labels, False)
    classes, categories = scored([(labels, instances, predicted)]).sections()
    evaluated = [label.id for label in cityscapes_labels if not label.ignoreInEval]
    valid = np.isin(labels, evaluated)

    def expected(ids, is_weighted):
        weights = np.zeros(labels.shape, np.float64) if is_weighted else np.isin(labels, ids).astype(np.float64)
        for number in np.unique(instances[instances > 1000]) if is_weighted else ():
            name = next(label.name for label in cityscapes_labels if label.id == number // 1000)
            if number // 1000 in ids:
                mask = instances == number
                weights[mask] = np.float64(official_evaluation.args.avgClassSize[name]) / mask.sum()
        hits = np.isin(predicted, ids)
        false = np.sum(hits & valid & ~np.isin(labels, ids))
        whole = weights.sum() + false
        return math.nan if whole == 0 else float((weights * hits).sum() / whole)

    check_equal(
        [row[0] for row in classes.rows.values()], [expected([LABEL_IDS[name]], False) for name in classes.rows]
    )
    check_equal([row[1] for row in classes.rows.values()], [expected([LABEL_IDS[name]], True) for name in classes.rows])
    for name, (iou, instance_iou) in categories.rows.items():
        ids = [label.id for label in category2labels[name] if not label.ignoreInEval]
        check_equal([iou], [expected(ids, False)])
        if name in ("human", "vehicle"):
            check_equal([instance_iou], [expected(ids, True)])
        else:
            assert instance_iou is None


def test_without_instances_there_is_no_instance_iou():
    rng = np.random.default_rng(4)
    labels, instances = scene(rng, (40, 40))
    scores = scored([(labels, instances, labels)])
    assert scores.has_instances
    scores.process(to_train_ids(labels, CITYSCAPES_LABEL_MAP, "label"), labels, None)
    assert not scores.has_instances
    classes, categories = scores.sections()
    assert all(row[1] is None for row in (*classes.rows.values(), *categories.rows.values()))
    assert categories.rows["human"][0] == 1.0


def test_categories_are_those_of_cityscapesscripts():
    expected = {
        category: tuple(label.name for label in members if not label.ignoreInEval)
        for category, members in category2labels.items()
    }
    assert {name: members for name, members in expected.items() if members} == dict(CITYSCAPES_CATEGORIES)
    assert {name for members in CITYSCAPES_CATEGORIES.values() for name in members} == set(CITYSCAPES_CLASSES)

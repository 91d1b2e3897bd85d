"""Class names and label ids of the known datasets."""

from __future__ import annotations

from collections.abc import Mapping

IGNORE_LABEL = 255

# fmt: off
CITYSCAPES_CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
    "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)
# fmt: on

# cityscapesScripts, helpers/labels.py: the labelIds of the 19 classes, in the order of their training ids.
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

# cityscapesScripts, helpers/labels.py: the classes of each category.
CITYSCAPES_CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "flat": ("road", "sidewalk"),
    "construction": ("building", "wall", "fence"),
    "object": ("pole", "traffic light", "traffic sign"),
    "nature": ("vegetation", "terrain"),
    "sky": ("sky",),
    "human": ("person", "rider"),
    "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
}

# The license plate's id -1 is stored as 255.
CITYSCAPES_LABEL_MAP: Mapping[int, int] = {
    **{file_id: IGNORE_LABEL for file_id in (*range(34), 255)},
    **{file_id: train_id for train_id, file_id in enumerate(_CITYSCAPES_IDS)},
}

# fmt: off
CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)

# The first name of each of the 150 classes of the SceneParsing benchmark (objectInfo150).
ADE_CLASSES = (
    "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass", "cabinet",
    "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water",
    "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair", "seat", "fence",
    "desk", "rock", "wardrobe", "lamp", "bathtub", "railing", "cushion", "base", "box", "column", "signboard",
    "chest of drawers", "counter", "sand", "sink", "skyscraper", "fireplace", "refrigerator", "grandstand",
    "path", "stairs", "runway", "case", "pool table", "pillow", "screen door", "stairway", "river", "bridge",
    "bookcase", "blind", "coffee table", "toilet", "flower", "book", "hill", "bench", "countertop", "stove",
    "palm", "kitchen island", "computer", "swivel chair", "boat", "bar", "arcade machine", "hovel", "bus",
    "towel", "light", "truck", "tower", "chandelier", "awning", "streetlight", "booth", "television receiver",
    "airplane", "dirt track", "apparel", "pole", "land", "bannister", "escalator", "ottoman", "bottle",
    "buffet", "poster", "stage", "van", "ship", "fountain", "conveyer belt", "canopy", "washer", "plaything",
    "swimming pool", "stool", "barrel", "basket", "waterfall", "tent", "bag", "minibike", "cradle", "oven",
    "ball", "food", "step", "tank", "trade name", "microwave", "pot", "animal", "bicycle", "lake",
    "dishwasher", "screen", "blanket", "sculpture", "hood", "sconce", "vase", "traffic light", "tray",
    "ashcan", "fan", "pier", "crt screen", "plate", "monitor", "bulletin board", "shower", "radiator",
    "glass", "clock", "flag",
)
# fmt: on

# cityscapesScripts, helpers/labels.py: the labels that have instances.
CITYSCAPES_THINGS: Mapping[int, str] = {
    24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 29: "caravan", 30: "trailer", 31: "train",
    32: "motorcycle", 33: "bicycle",
}  # fmt: skip


def instance_of(found: int) -> str | None:
    """Describes an id that numbers an instance as in Cityscapes or KITTI, and names the file to use; None otherwise."""
    for factor, project, instead in (
        (1000, "Cityscapes", "give *_labelIds.png in place of *_instanceIds.png"),
        (256, "KITTI", "give the files of the folder semantic in place of instance"),
    ):
        label = found // factor
        if label in CITYSCAPES_THINGS:
            name = CITYSCAPES_THINGS[label]
            return f"an instance id of {project} ({found} // {factor} = {label}, {name}): {instead}"
    return None


def identity_map(num_classes: int, ignored_id: int = IGNORE_LABEL) -> dict[int, int]:
    """Returns the label map of files that store training ids 0..num_classes-1, and `ignored_id` for ignored pixels."""
    return {**{train_id: train_id for train_id in range(num_classes)}, ignored_id: IGNORE_LABEL}

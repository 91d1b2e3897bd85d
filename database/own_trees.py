"""The arrangements of folders in which users have their own data, with images and labels of each split."""

from __future__ import annotations

import os
from typing import NamedTuple

from database.id_lists import VOC_FOLDERS


class OwnTree(NamedTuple):
    """An arrangement of folders.

    Attributes:
      images, labels: folders of images and labels; `{split}` stands for the name of a split.
      id_list: the list of the ids of a split; None if each split has folders of its own.
    """

    images: str
    labels: str
    id_list: str | None = None

    def folders(self, split: str) -> tuple[str, str]:
        """Returns the folders of images and labels of a split, below that of the dataset."""
        return self.images.format(split=split), self.labels.format(split=split)

    def images_of(self, data_dir: str, split: str) -> str:
        """Returns the path that defines the images of a split: their folder, or the list of their ids."""
        return os.path.join(data_dir, *(self.id_list or self.images).format(split=split).split("/"))

    def is_in(self, data_dir: str) -> bool:
        """Returns whether a folder has the folders of the arrangement, for whatever splits."""
        return all(os.path.isdir(os.path.join(data_dir, *name.split("/"))) for name in self.tops())

    def tops(self) -> tuple[str, ...]:
        """Returns the folders that all splits share, below that of the dataset."""
        tops = (self.images.partition("/")[0], self.labels.partition("/")[0])
        return (*tops, os.path.dirname(self.id_list)) if self.id_list else tops


IMAGES_AND_LABELS = OwnTree("images/{split}", "labels/{split}")
# The first one that a folder has is used; without any, the first one is expected.
OWN_TREES = (
    IMAGES_AND_LABELS,
    OwnTree("img_dir/{split}", "ann_dir/{split}"),  # mmsegmentation
    OwnTree(VOC_FOLDERS[0].images, VOC_FOLDERS[0].labels, "ImageSets/Segmentation/{split}.txt"),
)


def own_tree(data_dir: str) -> OwnTree:
    """Returns the arrangement of a folder with a user's data."""
    return next((tree for tree in OWN_TREES if tree.is_in(data_dir)), IMAGES_AND_LABELS)

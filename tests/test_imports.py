"""Who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("model", "database", "tools")
SCRIPTS = ("train", "predict", "inference")

# A module may import those of earlier rows of its package.
LAYERS = {
    "model": (
        ("choices", "errors", "host_group", "schedules"),
        (
            "sync_batch_norm",
            "dilated_convolution",
            "grouped_convolution",
            "depthwise_convolution",
            "random_stream",
            "region_averages",
            "optimizers",
            "companion_variables",
            "regularizers",
        ),
        ("convolution", "in_place_batch_norm", "accumulation", "weight_averages"),
        ("utils_mg",),
        ("memory", "loss_terms", "region_losses", "pyramid_convolution", "pooling", "resizing"),
        ("losses",),
        ("encoder_blocks", "encoder_end"),
        ("resnet", "mobilenet", "decoders"),
        ("encoders",),
        ("icnet",),
        ("architecture",),
        ("pspnet_mg",),
        ("channel_groups", "training_options"),
        ("pruning",),
        ("weight_update",),
        ("training_graph",),
    ),
    "database": (
        ("errors",),
        ("channels", "classes", "containment", "counts", "folders", "path_spellings", "regular_files"),
        ("atomic",),
        ("text_files", "input_range"),
        ("json_files", "image_opening"),
        ("image_suffixes",),
        ("id_lists", "list_hints", "palette_hints"),
        ("own_trees",),
        ("lists",),
        ("color_masks",),
        ("pages",),
        ("multiband_tiff",),
        ("tiff_channels",),
        ("label_decoding", "rgb_decoding"),
        ("channel_reading",),
        ("images", "georeference"),
        ("data_files", "sample_names"),
        ("layout_hints", "pairing_hints"),
        ("palettes", "layouts", "label_maps", "synthetic", "colors", "warping", "mixing", "class_sampling"),
        ("datasets", "augment", "copies"),
        ("loading", "dynamic_sizes", "json_values"),
        ("tfrecord",),
        ("tfrecord_index", "sample_loader"),
        ("tfrecord_samples", "class_crops"),
        ("reader",),
        ("dynamic_batches",),
    ),
}
# A file or folder of tools/ may import those of earlier rows, and its own files.
ROOMS = (
    ("errors",),
    ("runtime",),
    ("flags",),
    ("checkpoints", "console", "distributed", "pages"),
    ("runs",),
    ("convert",),
    ("download", "prediction"),
    ("training", "export", "serve"),
    (
        "benchmark",
        "check_dataset",
        "cityscapes",
        "demo",
        "import_annotations",
        "launch",
        "make_tfrecord",
        "prune",
        "results",
        "sbd",
        "setup",
    ),
    ("report",),
)
# Rooms that are no command; the others, and each file directly in tools/, are `python -m tools.<name>`.
SUBJECTS = {
    "errors", "console", "flags", "runtime", "checkpoints", "distributed", "runs", "prediction", "training", "setup",
    "pages",
}  # fmt: skip
PLAIN_PYTHON = (
    "tools.flags.train", "tools.prediction.metrics", "tools.prediction.sliding", "tools.prediction.tables",
    "database.palettes", "database.synthetic", "tools.flags.predict", "tools.export.flags", "tools.prediction.loading",
    "tools.prediction.polygons", "tools.prediction.coco",
    "database.datasets", "tools.download.__main__", "tools.check_dataset.__main__", "model.choices",
    "tools.report.__main__", "tools.serve.__main__", "tools.runtime.chosen_hosts", "tools.launch.__main__",
)  # fmt: skip


@dataclass(frozen=True)
class Import:
    """One imported name: `from a import b` is `a.b`."""

    importer: str
    imported: str
    line: int
    at_start: bool  # when the importer is imported, as opposed to inside a function or for type checkers alone

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: imports {self.imported}"


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _paths() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))] + [
        ROOT / f"{script}.py" for script in SCRIPTS
    ]


TREES = {_module_name(path): ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in _paths()}


def _later(node: ast.AST) -> bool:
    """Whether what stands in a node is not run when the module is imported."""
    is_for_type_checkers = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    return is_for_type_checkers or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))


def _imports_below(node: ast.AST, importer: str, at_start: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(importer, alias.name, child.lineno, at_start)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{importer}, line {child.lineno}: relative import"
            for alias in child.names:
                yield Import(importer, f"{child.module}.{alias.name}", child.lineno, at_start)
        else:
            yield from _imports_below(child, importer, at_start and not _later(child))


IMPORTS = [found for name, tree in TREES.items() for found in _imports_below(tree, name, True)]


def _module_of(imported: str) -> str:
    """The module of this project that an import runs; the name itself if it is from elsewhere."""
    parent = imported.rpartition(".")[0]
    return parent if imported not in TREES and parent in TREES else imported


def _package(module: str) -> str:
    return module.split(".")[0]


def _refuse(offending: list[Import]) -> None:
    assert not offending, "\n".join(map(str, offending))


def test_the_walk_sees_what_is_there():
    seen = {(found.importer, _module_of(found.imported)): found.at_start for found in IMPORTS}
    assert seen["model.utils_mg", "model.sync_batch_norm"] is True
    assert seen["tools.training.build", "model.training_graph"] is True
    assert seen["train", "tools.training.run"] is False  # inside main
    assert set(SCRIPTS) < set(TREES)


def test_model_and_database_know_nothing_of_each_other_and_of_tools():
    allowed = {"model": {"model"}, "database": {"database"}, "tools": set(PACKAGES)}
    _refuse([found for found in IMPORTS
             if _package(found.imported) in PACKAGES
             and _package(found.imported) not in allowed.get(_package(found.importer), PACKAGES)])  # fmt: skip


def test_nothing_imports_a_script():
    _refuse([found for found in IMPORTS if _package(found.imported) in SCRIPTS])


def _imports_of_tests() -> list[Import]:
    trees = {_module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("*.py")}
    return [found for name, tree in trees.items() for found in _imports_below(tree, name, True)]


def test_tests_do_not_import_scripts():
    _refuse([found for found in _imports_of_tests() if _package(found.imported) in SCRIPTS])


def test_only_tests_of_parity_need_pytorch():
    optional = ("torch", "transformers", "safetensors", "tests.parity")
    outside = [found for found in _imports_of_tests() if not found.importer.startswith("tests.parity")]
    _refuse([found for found in outside if f"{found.imported}.".startswith(tuple(f"{name}." for name in optional))])


@pytest.mark.parametrize("package", LAYERS)
def test_modules_import_only_from_layers_below(package):
    rank = {f"{package}.{name}": row for row, names in enumerate(LAYERS[package]) for name in names}
    unknown = {name for name in TREES if _package(name) == package and name != package} - set(rank)
    assert not unknown, f"give {', '.join(sorted(unknown))} a row in LAYERS"
    inside = [found for found in IMPORTS if found.importer in rank and _package(found.imported) == package]
    _refuse([found for found in inside if rank[_module_of(found.imported)] >= rank[found.importer]])


def _room(module: str) -> str:
    return module.split(".")[1]


def test_rooms_of_tools_import_only_from_rows_below():
    rank = {name: row for row, names in enumerate(ROOMS) for name in names}
    modules = [name for name in TREES if name.startswith("tools.")]
    assert {_room(name) for name in modules} == set(rank), "give each file and folder of tools/ a row in ROOMS"
    edges = [(found, _module_of(found.imported)) for found in IMPORTS if found.importer in modules]
    _refuse([found for found, imported in edges
             if imported in modules and _room(imported) != _room(found.importer)
             and rank[_room(imported)] >= rank[_room(found.importer)]])  # fmt: skip


def test_what_lies_in_tools_is_a_command_or_a_known_subject():
    names = {name for row in ROOMS for name in row}
    assert names > SUBJECTS
    for name in names - SUBJECTS:
        main = TREES.get(f"tools.{name}.__main__") or TREES[f"tools.{name}"]
        assert "__name__ == '__main__'" in ast.unparse(main), f"tools/{name} is no command: enter it in SUBJECTS"


def test_packages_hold_a_docstring_alone():
    """So that importing a module of flags or check_dataset imports nothing else."""
    folders = {path.parent for path in _paths() if path.parent != ROOT}
    for folder in folders:
        tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
        assert len(tree.body) == 1, f"{folder}: __init__.py has code"
        assert ast.get_docstring(tree), f"{folder}: __init__.py has no docstring"


def test_there_are_no_circles():
    edges = {name: {_module_of(found.imported) for found in IMPORTS if found.importer == name} for name in TREES}
    open_modules: list[str] = []
    visited: set[str] = set()

    def visit(name: str) -> None:
        assert name not in open_modules, " -> ".join([*open_modules, name])
        if name in visited:
            return
        open_modules.append(name)
        for imported in sorted(edges[name] & set(TREES)):
            visit(imported)
        open_modules.pop()
        visited.add(name)

    for name in TREES:
        visit(name)


def test_no_contrib_no_opencv_no_keras():
    forbidden = (
        "cv2",
        "tensorflow.contrib",
        "tensorflow.compat.v1.contrib",
        "keras",
        "tf_keras",
        "tensorflow.keras",
    )
    _refuse([found for found in IMPORTS if f"{found.imported}.".startswith(tuple(f"{name}." for name in forbidden))])


def test_no_private_modules_of_tensorflow():
    private = ("tensorflow.python.", "tensorflow.core.", "tensorflow.compiler.", "tensorflow._api.")
    _refuse([found for found in IMPORTS if f"{found.imported}.".startswith(private)])


@pytest.mark.parametrize("module", TREES)
def test_no_contrib_and_no_private_module_by_attribute(module):
    aliases = {"tf", "tensorflow"}
    found = [node for node in ast.walk(TREES[module])
             if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
             and node.value.id in aliases and node.attr in ("contrib", "python", "core", "_api")]  # fmt: skip
    assert not found, f"{module}, line {found[0].lineno}: {ast.unparse(found[0])}"


def _reached_at_start(module: str) -> set[str]:
    """What importing a module imports, through this project's modules and their packages."""
    reached: set[str] = set()
    waiting = [module, _package(module)]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        if name in TREES:
            for found in IMPORTS:
                if found.importer == name and found.at_start:
                    imported = _module_of(found.imported)
                    waiting += [imported, _package(imported)]
    return reached


@pytest.mark.parametrize("module", PLAIN_PYTHON)
def test_no_tensorflow_behind_plain_modules(module):
    assert not {"tensorflow", "tf_slim"} & _reached_at_start(module)
    inside = [found for found in IMPORTS if found.importer == module]
    _refuse([found for found in inside if _package(found.imported) in ("tensorflow", "tf_slim")])


def test_tensorflow_is_seen_where_it_is():
    assert "tensorflow" in _reached_at_start("tools.training.build")


def test_plain_modules_and_scripts_start_without_tensorflow():
    """The same, as Python sees it; the scripts tell a wrong flag before they import TensorFlow."""
    lines = [f"import {', '.join([*PLAIN_PYTHON, 'tools.console'])}", "import runpy, sys"]
    lines += [f"runpy.run_path({str(ROOT / f'{script}.py')!r})" for script in SCRIPTS]
    lines += ["print([name for name in ('tensorflow', 'tf_slim') if name in sys.modules])"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")

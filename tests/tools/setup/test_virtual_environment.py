"""Virtual environments with and without ensurepip, from a package index of this test's own."""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import json
import subprocess
import sys
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tools.setup import virtual_environment
from tools.setup.virtual_environment import DEFAULT_INDEX, download_pip, main, package_index

# Stands in for pip: notes the Python that runs it and its arguments beside that Python.
FAKE_PIP = """
import json, os, sys
with open(os.path.join(sys.prefix, "pip-was-called.json"), "w") as file:
    json.dump(sys.argv[1:], file)
"""


def fake_wheel() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as wheel:
        wheel.writestr("pip/__main__.py", FAKE_PIP)
    return content.getvalue()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def index(tmp_path, monkeypatch):
    """The address and the folder of a package index with four wheels of pip."""
    root = tmp_path / "index"
    (root / "simple" / "pip").mkdir(parents=True)
    (root / "files").mkdir()
    lines = []
    for version in ("9.0.3", "25.0.1", "24.3", "26.0b1"):
        name = f"pip-{version}-py3-none-any.whl"
        (root / "files" / name).write_bytes(fake_wheel())
        checksum = hashlib.sha256(fake_wheel()).hexdigest()
        href = f"../../files/{name}#sha256={checksum}"
        lines.append(f'<a href="{href}" data-requires-python="&gt;=3.9">{name}</a><br />')
    (root / "simple" / "pip" / "index.html").write_text("\n".join(lines))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(root)))
    threading.Thread(target=server.serve_forever).start()
    address = f"http://127.0.0.1:{server.server_port}/simple"
    monkeypatch.setenv("PIP_INDEX_URL", address)
    yield address, root
    server.shutdown()
    server.server_close()


def without(monkeypatch, *modules):
    find_spec = virtual_environment.find_spec
    monkeypatch.setattr(virtual_environment, "find_spec", lambda name: None if name in modules else find_spec(name))


def test_it_imports_only_the_standard_library():
    tree = ast.parse(inspect.getsource(virtual_environment))
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    modules = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports}
    assert {name.split(".")[0] for name in modules} <= sys.stdlib_module_names


def test_pip_comes_from_ensurepip(tmp_path, monkeypatch):
    created = []
    monkeypatch.setattr(virtual_environment.venv, "create", lambda folder, **options: created.append((folder, options)))
    assert main([str(tmp_path / "venv")]) == 0
    assert created == [(str(tmp_path / "venv"), {"with_pip": True, "symlinks": True})]


def test_pip_comes_from_an_installed_pip(tmp_path, monkeypatch):
    without(monkeypatch, "ensurepip")
    commands = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **options: commands.append(command))
    folder = tmp_path / "venv"
    assert main([str(folder)]) == 0
    [command] = commands
    assert command[1:] == ["-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet", "pip"]
    prefix = run([command[4], "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=True)
    assert prefix.stdout.strip() == str(folder)


def test_pip_comes_from_the_package_index(tmp_path, monkeypatch, index):
    without(monkeypatch, "ensurepip", "pip")
    folder = tmp_path / "venv"
    assert main([str(folder)]) == 0
    *options, wheel = json.loads((folder / "pip-was-called.json").read_text())
    assert options == ["install", "--quiet", "--no-index"]
    assert wheel.endswith("pip-25.0.1-py3-none-any.whl")


def test_nothing_to_get_pip_from(tmp_path, monkeypatch, index, capsys):
    without(monkeypatch, "ensurepip", "pip")
    monkeypatch.setenv("PIP_INDEX_URL", index[0] + "/nowhere")
    assert main([str(tmp_path / "venv")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        f"error: {tmp_path / 'venv'}: pip cannot be installed (HTTP Error 404: File not found): apt install "
    )
    assert error.count("\n") == 1


def test_pip_that_fails(tmp_path, monkeypatch, capsys):
    def fail(folder, **options):
        raise subprocess.CalledProcessError(1, ["ensurepip"])

    monkeypatch.setattr(virtual_environment.venv, "create", fail)
    assert main([str(tmp_path / "venv")]) == 2
    assert "returned non-zero exit status 1" in capsys.readouterr().err


def test_malformed_configuration_of_pip(tmp_path, monkeypatch, capsys):
    without(monkeypatch, "ensurepip", "pip")
    (tmp_path / "pip.conf").write_text("index-url = https://mirror.example/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert main([str(tmp_path / "venv")]) == 2
    error = capsys.readouterr().err
    assert "pip.conf" in error
    assert error.count("\n") == 1


def test_index_without_a_release_of_pip(tmp_path, index):
    address, root = index
    page = root / "simple" / "pip" / "index.html"
    page.write_text("\n".join(line for line in page.read_text().splitlines() if "26.0b1" in line))
    with pytest.raises(OSError, match="/simple/pip/: found no wheel of pip"):
        download_pip(address, str(tmp_path))


def test_damaged_download(tmp_path, index):
    address, root = index
    (root / "files" / "pip-25.0.1-py3-none-any.whl").write_bytes(b"damaged")
    with pytest.raises(OSError, match="pip-25.0.1-py3-none-any.whl: the checksum differs .*/simple/pip/"):
        download_pip(address, str(tmp_path))


def test_package_index_is_pips_own(tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_CONFIG_FILE", raising=False)
    monkeypatch.setattr(virtual_environment, "PIP_CONFIGS", (str(tmp_path / "pip.conf"),))
    assert package_index() == DEFAULT_INDEX
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://mirror.example/100%/simple\n")
    assert package_index() == "https://mirror.example/100%/simple"
    (tmp_path / "other.conf").write_text("[global]\nindex-url = https://other.example/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "other.conf"))
    assert package_index() == "https://other.example/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://named.example/simple")
    assert package_index() == "https://named.example/simple"

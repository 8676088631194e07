"""The house rule: imports run one way, from the demonstrations up to the command line."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ilfo

PACKAGE = Path(ilfo.__file__).parent
REPOSITORY = Path(__file__).parents[1]

STOREYS = (
    {"ilfo", "_tools"},
    {"demos", "plugins", "statistics"},
    {"vision", "variants"},
    {"rewards", "agents"},
    {"testing", "runs"},
    {"envs"},
    {"_evaluations", "metaworld", "robotics", "robosuite", "adapters", "_dataset_labeller"},
    {"training", "cloning", "pretraining"},
    {"_evaluation_display"},
    {"evaluate", "experts"},
    {"record", "report", "label", "clone"},
    {"_progress"},
    {"train"},
    {"fleet"},
    {"compare", "suites"},
    {"cli"},
    {"__main__"},
)
"""Rooms from the ground up: each knows itself and the storeys below, never a neighbour on its own."""

INSIDE = {
    "training": (
        {"_trials", "priorities", "policy_inputs", "scorer", "start_check"},
        {"replay", "configs"},
        {"flags", "replay_writer", "parts", "run_group"},
        {"sources"},
        {"imitation"},
        {"training"},
        {"reward_check", "measures"},
        {"plan"},
    ),
    "suites": (
        {"suite", "reached"},
        {"figure"},
        {"table", "looks_figure", "command", "look_recordings"},
        {"looks_table"},
        {"evaluate_suite", "evaluate_clones"},
    ),
}
"""The same within large rooms, whose door (``__init__``) nobody inside goes through."""

UPWARD = {
    ("demos._plot_command", "report"),
    ("demos._plot_command", "rewards"),
    ("demos.commands", "envs"),
    ("evaluate", "suites"),
}
"""Who may look up, and where to: inside a function, or for a type alone, so that importing never goes up."""

STOREY_OF = {room: number for number, rooms in enumerate(STOREYS) for room in rooms}


def name_of(path: Path) -> str:
    """``demos.files`` for ``ilfo/demos/files.py``, ``demos`` for ``ilfo/demos/__init__.py``, ``ilfo`` for the root."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "ilfo"


MODULES = {name_of(path): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    return module.partition(".")[0]


def only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports(tree: ast.AST, lazy: bool = False) -> Iterator[tuple[str, bool]]:
    """Modules of ilfo that a tree imports, by their names here, and whether importing the tree leaves them alone."""
    for node in ast.iter_child_nodes(tree):
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; spell the module out"
            assert node.module is not None
            targets = [
                f"ilfo.{alias.name}" if node.module == "ilfo" and alias.name in MODULES else node.module
                for alias in node.names
            ]
        for target in targets:
            if room_of(target) == "ilfo":
                yield target.removeprefix("ilfo."), lazy
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or only_for_types(node)
        yield from imports(node, lazy or inside)


IMPORTS = [(module, *found) for module, tree in MODULES.items() for found in imports(tree)]


def test_the_walk_sees_every_kind_of_import():
    source = "import ilfo.demos\nfrom ilfo import train\nimport numpy\ndef late():\n    from ilfo.envs import describe"
    assert list(imports(ast.parse(source))) == [("demos", False), ("train", False), ("envs", True)]
    assert ("training.training", "demos", False) in IMPORTS
    assert ("demos.commands", "envs", True) in IMPORTS


def test_every_room_has_its_storey():
    rooms = {room_of(module) for module in MODULES}
    assert rooms == STOREY_OF.keys(), "a new module needs a storey, and one that is gone gives its own back"


def test_imports_run_one_way():
    upward = {
        (module, room_of(target), lazy)
        for module, target, lazy in IMPORTS
        if room_of(target) != room_of(module) and STOREY_OF[room_of(target)] >= STOREY_OF[room_of(module)]
    }
    at_import = sorted((module, target) for module, target, lazy in upward if not lazy)
    assert not at_import, f"imports that go up, or to a neighbour: {at_import}"
    assert {(module, target) for module, target, _ in upward} == UPWARD


@pytest.mark.parametrize("room", INSIDE)
def test_imports_run_one_way_inside_a_room(room):
    floor_of = {f"{room}.{module}": number for number, modules in enumerate(INSIDE[room]) for module in modules}
    inside = {module for module in MODULES if room_of(module) == room}
    assert inside - {room} == floor_of.keys(), "a new module needs a storey, and one that is gone gives its own back"
    met = [(module, target) for module, target, _ in IMPORTS if module in floor_of and room_of(target) == room]
    assert met
    assert not [(one, other) for one, other in met if floor_of.get(other, len(inside)) >= floor_of[one]]


@pytest.mark.parametrize(("one", "other"), [("agents", "rewards"), ("rewards", "agents"), ("agents", "envs")])
def test_strangers_stay_strangers(one, other):
    met = [(module, target) for module, target, _ in IMPORTS if room_of(module) == one and room_of(target) == other]
    assert not met


def test_nothing_else_imports_the_command_line():
    assert {module for module, target, _ in IMPORTS if room_of(target) == "cli"} == {"__main__"}


@pytest.mark.parametrize("module", ["_tools.errors", "_tools.atomic"])
def test_the_ground_floor_knows_nothing_of_the_house(module):
    assert not list(imports(MODULES[module]))


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("ilfo.demos", "torch gymnasium mujoco matplotlib"),
        ("ilfo.rewards", "gymnasium mujoco tyro rich"),
        ("ilfo.testing", "pytest gymnasium mujoco tyro rich"),
        ("ilfo.adapters", "torch gymnasium stable_baselines3 torchrl"),
        ("ilfo.cli", "torch gymnasium h5py tyro rich"),
    ],
)
def test_a_room_is_entered_without_what_it_does_not_need(module, heavy):
    code = f"import sys, {module}; print(*sorted(set({heavy.split()}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


@pytest.mark.parametrize("room", ["demos", "rewards"])
def test_the_doors_at_the_top_level_are_links(room):
    door = REPOSITORY / room
    assert door.is_symlink()
    assert door.readlink() == Path("ilfo") / room


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"ilfo"}))
def test_a_module_says_what_it_offers(module):
    """``__all__`` is there, and every name in it; the root offers its version alone."""
    names, offered = set(), None
    for node in MODULES[module].body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
            if "__all__" in ast.unparse(targets[0]):
                assert node.value is not None
                offered = ast.literal_eval(node.value)
    assert offered or not names, "no __all__"
    assert set(offered or ()) <= names

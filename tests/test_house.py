"""What tests may not do: they hand values in and play strangers, and replace no name of the code they test."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = sorted(Path(__file__).parent.glob("*.py"))
PATCHES = {"setattr", "delattr", "setitem", "delitem", "patch", "object", "dict", "multiple"}


def imported(tree: ast.AST) -> set[str]:
    """What a file calls our modules, and what is in them."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            ours = (each for each in node.names if each.name.split(".")[0] == "ussd_app")
            names |= {each.asname or "ussd_app" for each in ours}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ussd_app":
            names |= {each.asname or each.name for each in node.names}
    return names


def ours(node: ast.expr, names: set[str]) -> bool:
    """Whether this is a name of ours, something in one, or the path to one."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and node.value.split(".")[0] == "ussd_app"
    return isinstance(node, ast.Name) and node.id in names


def patched(source: str) -> Iterator[str]:
    """Each place that replaces a name of ours, as it is written."""
    tree = ast.parse(source)
    names = imported(tree)
    for node in ast.walk(tree):
        replaced: list[ast.expr] = []
        if isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            replaced = node.args[:1] if called in PATCHES else []
        elif isinstance(node, ast.Assign | ast.Delete):
            replaced = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            replaced = [node.target]
        if not isinstance(node, ast.Call):
            replaced = [each for each in replaced if isinstance(each, ast.Attribute | ast.Subscript)]
        if any(ours(each, names) for each in replaced):
            yield ast.unparse(node)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_no_name_of_ours_is_replaced(path: Path) -> None:
    """A test that does so proves something of the test's code, not of ours."""
    assert list(patched(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    [
        'monkeypatch.setattr("ussd_app.worker.TEND", "* * * * * *")', 'monkeypatch.setattr(worker, "TEND", "")',
        'monkeypatch.setattr(Operator, "balance", told)', 'monkeypatch.setattr(operators.daraja, "STEP", told)',
        'monkeypatch.delattr(worker, "TEND")', 'monkeypatch.setitem(worker.JOBS, "x", told)', 'setattr(worker, "X", 1)',
        'with mock.patch("ussd_app.worker.TEND"): pass', 'mock.patch.object(worker, "TEND")', 'worker.TEND = ""',
        'worker.JOBS["x"] = told', "del worker.TEND",
    ],
)  # fmt: skip
def test_every_way_to_replace_one_is_seen(line: str) -> None:
    """And strangers, the standard library and what tests have made themselves may be replaced."""
    head = "import signal\nfrom ussd_app import operators, worker\nfrom ussd_app.operators.airtel import Operator\n"
    assert len(list(patched(head + line))) == 1
    other = line.replace("ussd_app", "shop").replace("worker", "signal").replace("Operator", "shop")
    assert not list(patched(head + other.replace("operators", "signal")))

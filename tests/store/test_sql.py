"""SQL is constant text: values go in as parameters only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import proxy.store

FOLDER = Path(proxy.store.__file__).parent
EXECUTES = {"execute", "executemany", "executescript", "execute_insert", "execute_fetchall"}


def mistakes(source):
    """The line numbers where SQL that is executed is anything but literals and module constants made of literals."""
    tree = ast.parse(source)
    constants = set()
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ):
                if value is not None and is_constant(value, constants):
                    constants.add(name)
    wrong = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=attr), args=args) if attr in EXECUTES:
                if not args or not is_constant(args[0], constants):
                    wrong.append(node.lineno)
    return wrong


def is_constant(node, constants):
    match node:
        case ast.Constant(value=str()):
            return True
        case ast.Name(id=name):
            return name in constants
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return is_constant(left, constants) and is_constant(right, constants)
    return False


@pytest.mark.parametrize("file", sorted(FOLDER.rglob("*.py")), ids=lambda file: file.name)
def test_sql_is_never_put_together_from_values(file):
    """No statement in proxy/store is formatted; the one loop runs the migrations, which are literals."""
    lines = file.read_text().splitlines()
    wrong = [lines[number - 1].strip() for number in mistakes(file.read_text())]
    assert wrong == (["db.execute(statement)"] if file.name == "schema.py" else [])


def test_migrations_are_literals():
    """The table of migrations evaluates as a literal, so that no value can get into it."""
    tree = ast.parse((FOLDER / "schema.py").read_text())
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "MIGRATIONS"
    )
    assert ast.literal_eval(table)


@pytest.mark.parametrize(
    "source",
    [
        "db.execute(f'SELECT {x}')",
        "db.execute('SELECT %s' % x)",
        "db.execute('SELECT {}'.format(x))",
        "db.execute('SELECT ' + x)",
        "Q = f'SELECT {x}'\ndb.execute(Q)",
        "def f(sql):\n    db.executemany(sql, [])",
        "db.execute(sql=x)",
    ],
)
def test_the_check_sees_formatted_sql(source):
    """Each way of putting a value into SQL is found."""
    assert mistakes(source)

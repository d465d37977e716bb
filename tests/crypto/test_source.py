"""C-21, C-22: what no file of the library may do. Each rule is tried on a line that breaks it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "socialvault"
FILES = sorted(PACKAGE.rglob("*.py"))

#: What yields a secret, or a value that an attacker could guess byte by byte if a comparison took longer for each.
SECRET_CALLS = {"reveal", "digest", "hexdigest", "key_id_of"}
SECRET_NAMES = {"binding", "verifier", "code_verifier", "nonce", "secret", "client_secret", "password", "signature"}
WEAK = {"ECB", "CBC", "TripleDES", "ARC4", "MD5", "SHA1", "md5", "sha1", "Fernet", "uuid1", "uuid4"}
#: What stays all the same, by file and name, because other software demands it; it protects nothing here.
DEMANDED = {
    ("stores/redis/scripts/__init__.py", "sha1"),  # EVALSHA names a script by its SHA-1
    ("importers/fernet.py", "Fernet"),  # opens what other applications have encrypted
}

Rule = Callable[[ast.AST], Iterator[ast.AST]]


def links(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what an expression ends in, then what that was called, sliced or read from."""
    while True:
        yield node
        if isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, (ast.Attribute, ast.Subscript)):
            node = node.value
        else:
            return


def last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def is_secret(node: ast.AST) -> bool:
    called = {last_name(link.func) for link in links(node) if isinstance(link, ast.Call)}
    return bool(called & SECRET_CALLS) or last_name(node) in SECRET_NAMES


def compares_in_constant_time(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and last_name(node.func) == "Secret"


def plain_comparisons_of_secrets(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(op, (ast.Eq, ast.NotEq)) for op in node.ops):
            sides = [node.left, *node.comparators]
            if any(map(is_secret, sides)) and not any(map(compares_in_constant_time, sides)):
                yield node


def predictable_randomness(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        if any(module.partition(".")[0] in ("random", "numpy") for module in modules):
            yield node


def weak_primitives(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)) and last_name(node) in WEAK:
            yield node
        if isinstance(node, ast.ImportFrom) and any(alias.name in WEAK for alias in node.names):
            yield node


def weak_names(node: ast.AST) -> set[str]:
    return {alias.name for alias in node.names} & WEAK if isinstance(node, ast.ImportFrom) else {last_name(node)}


def is_exempt(rule: str, file: str, node: ast.AST) -> bool:
    if rule.startswith("c_21"):
        return file.startswith("sandbox/")  # plays the provider, for tests
    return rule == "c_22_no_weak_primitive" and {(file, name) for name in weak_names(node)} <= DEMANDED


def failures_that_pass(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield handlers of any error at all that neither raise, nor use the error, nor answer plainly no."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and catches_anything(node) and not fails_closed(node):
            yield node


def catches_anything(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or last_name(kind) in ("Exception", "BaseException") for kind in kinds)


def fails_closed(handler: ast.ExceptHandler) -> bool:
    inside = [node for statement in handler.body for node in ast.walk(statement)]
    says_no = [ast.unparse(statement) for statement in handler.body] == ["return False"]
    uses = any(isinstance(node, ast.Name) and node.id == handler.name for node in inside)
    return says_no or uses or any(isinstance(node, ast.Raise) for node in inside)


RULES: dict[str, Rule] = {
    "c_21_secrets_are_compared_in_constant_time": plain_comparisons_of_secrets,
    "c_22_randomness_is_the_systems": predictable_randomness,
    "c_22_no_weak_primitive": weak_primitives,
    "c_22_no_failure_passes": failures_that_pass,
}

PLANTED: list[tuple[str, str]] = [
    ("c_21_secrets_are_compared_in_constant_time", "ok = key_id_of(key).hex() == row.key_id"),
    ("c_21_secrets_are_compared_in_constant_time", "ok = shown != token.reveal()[:4]"),
    ("c_21_secrets_are_compared_in_constant_time", "ok = hashlib.sha256(x).digest() == row.state_hash"),
    ("c_21_secrets_are_compared_in_constant_time", "ok = row.binding == mine"),
    ("c_21_secrets_are_compared_in_constant_time", "ok = 1 < 2 and nonce != given"),
    ("c_22_randomness_is_the_systems", "import random"),
    ("c_22_randomness_is_the_systems", "def f():\n    from random import choice"),
    ("c_22_randomness_is_the_systems", "import numpy.random as r"),
    ("c_22_no_weak_primitive", "cipher = Cipher(AES(key), modes.ECB())"),
    ("c_22_no_weak_primitive", "from cryptography.fernet import Fernet"),
    ("c_22_no_weak_primitive", "hashlib.md5(x)"),
    ("c_22_no_failure_passes", "try:\n    x = open(raw)\nexcept Exception:\n    x = raw"),
    (
        "c_22_no_failure_passes",
        "def f():\n    try:\n        return open(raw)\n    except Exception:\n        return raw",
    ),
    ("c_22_no_failure_passes", "try:\n    f()\nexcept:\n    pass"),
    ("c_22_no_failure_passes", "try:\n    f()\nexcept (ValueError, BaseException) as e:\n    g()"),
]
FINE = """
ok = hmac.compare_digest(key_id_of(key), stored)
ok = Secret(value) == nonce
ok = key.state == "primary"
try:
    f()
except ValueError:
    pass
try:
    f()
except Exception as problem:
    log(type(problem).__name__)
try:
    f()
except BaseException:
    close()
    raise
def verifies():
    try:
        return f()
    except Exception:
        return False
"""


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.AST]:
    return {str(file.relative_to(PACKAGE)): ast.parse(file.read_text("utf-8")) for file in FILES}


@pytest.mark.parametrize("rule", RULES)
def test_the_library_keeps(rule: str, trees: dict[str, ast.AST]) -> None:
    assert "crypto/envelope.py" in trees
    broken = [
        f"{name}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)}"
        for name, tree in trees.items()
        for node in RULES[rule](tree)
        if not is_exempt(rule, name, node)
    ]
    assert broken == []


@pytest.mark.parametrize(("rule", "line"), PLANTED)
def test_a_broken_rule_is_noticed(rule: str, line: str) -> None:
    assert len(list(RULES[rule](ast.parse(line)))) == 1


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_cries_wolf(rule: str) -> None:
    assert list(RULES[rule](ast.parse(FINE))) == []


def test_c_22_only_what_is_demanded_is_exempt_and_only_in_its_file(trees: dict[str, ast.AST]) -> None:
    rule = "c_22_no_weak_primitive"
    found = {(file, name) for file in trees for node in weak_primitives(trees[file]) for name in weak_names(node)}
    assert found == DEMANDED
    [both] = weak_primitives(ast.parse("from hashlib import md5, sha1"))
    assert not is_exempt(rule, "stores/redis/scripts/__init__.py", both)
    [elsewhere] = weak_primitives(ast.parse("hashlib.sha1(x)"))
    assert not is_exempt(rule, "crypto/envelope.py", elsewhere)


def test_c_22_what_others_encrypted_with_fernet_is_opened_and_nothing_is_encrypted_with_it() -> None:
    tree = ast.parse((PACKAGE / "importers" / "fernet.py").read_text("utf-8"))
    called = {last_name(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert "decrypt" in called
    assert not called & {"encrypt", "encrypt_at_time", "rotate", "generate_key"}


def test_c_21_the_commitment_is_compared_with_compare_digest() -> None:
    tree = ast.parse((PACKAGE / "crypto" / "commitment.py").read_text("utf-8"))
    function = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "commits_to")
    called = {last_name(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
    assert {"compare_digest", "key_id_of"} <= called

"""Check that modules import only from the floors below them, and in no circle: part of `make lint`.

What a file imports is read from its `use` lines and from paths that begin with `crate::`; its own tests are
left out, and so is what a module hands on of its children (`pub use`).
"""

import re
import sys
from pathlib import Path

import environment
from environment import CHECKOUT, Failure

# Floors of a module, lowest first; those of one entry may not know each other.
ORDERS = {
    "core": [["counters", "reserve", "types"], ["kernel"], ["code"], ["graph", "rank"], ["arena", "page"], ["cluster"]],
    "core::page": [["format"], ["store"], ["query"], ["link"], ["insert"], ["vacuum"], ["scan"], ["check"]],
    "src": [["error", "guc"], ["memory"], ["error_context"], ["nodes", "quantizers"], ["types"], ["store"], ["am"], ["plan"], ["observe"]],
}
# Each instruction set uses the helpers beside the dispatch that chooses it.
CIRCLES = {"core::kernel"}


def module_of(path, root):
    """The path of the module in a file, as a tuple of names below its crate."""
    parts = path.relative_to(root).with_suffix("").parts
    return parts[:-1] if parts[-1] in ("mod", "lib") else parts


def without_comments_and_tests(text):
    text = re.sub(r"//[^\n]*|pub\(in [^)]*\)", "", text)
    return re.split(r"#\[cfg\(test\)\]\s*mod \w+ \{", text)[0]


def leaves(tree, prefix=()):
    """The paths of a use tree."""
    tree = tree.strip()
    head, brace, rest = tree.partition("{")
    names = tuple(name for name in head.strip().split("::") if name)
    if not brace:
        yield prefix + tuple(name.split(" as ")[0].strip() for name in names)
        return
    depth, start = 0, 0
    inner = rest.rsplit("}", 1)[0]
    for at, character in enumerate(inner + ","):
        depth += (character == "{") - (character == "}")
        if character == "," and depth == 0:
            if inner[start:at].strip():
                yield from leaves(inner[start:at], prefix + names)
            start = at + 1


def imports(module, text, modules):
    """The modules of the same crate that a file names."""
    text = without_comments_and_tests(text)
    trees = [tree for visibility, tree in re.findall(r"(pub(?:\(\w+\))?\s+)?\buse\s+([^;]+);", text) if not visibility]
    trees += re.findall(r"\bcrate(?:::\w+)+", re.sub(r"\buse\s+[^;]+;", "", text))
    for path in (path for tree in trees for path in leaves(tree)):
        base = module
        if path[0] == "crate":
            base, path = (), path[1:]
        while path and path[0] in ("super", "self"):
            base = base[:-1] if path[0] == "super" else base
            path = path[1:]
        full = base + path
        # The longest prefix that is a module: what follows is an item of it.
        found = next((full[:end] for end in range(len(full), 0, -1) if full[:end] in modules), None)
        if found is not None and found != module:
            yield found


def circles(graph):
    """The strongly connected parts of more than one module (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            part = []
            while not part or part[-1] != node:
                part.append(stack.pop())
            if len(part) > 1:
                found.append(part)

    for node in graph:
        if node not in index:
            visit(node)
    return found


def check(crate, root):
    files = {module_of(path, root): path for path in sorted(root.rglob("*.rs"))}
    graph = {module: set(imports(module, path.read_text(), files)) for module, path in files.items()}
    name = lambda module: "::".join((crate, *module))
    for order_of, floors in ORDERS.items():
        inside = tuple(order_of.split("::")[1:])
        if order_of.split("::")[0] != crate:
            continue
        height = {module: number for number, floor in enumerate(floors) for module in floor}
        for module, others in graph.items():
            for other in others:
                if module[: len(inside)] != inside or other[: len(inside)] != inside:
                    continue
                above, below = (path[len(inside)] if len(path) > len(inside) else None for path in (module, other))
                if above in height and below in height and above != below and height[above] <= height[below]:
                    yield f"{name(module)} imports {name(other)}, which is not below it"
    for part in circles(graph):
        if not all(any(name(module).startswith(allowed) for allowed in CIRCLES) for module in part):
            yield "a circle of imports: " + ", ".join(sorted(map(name, part)))


def main():
    wrong = [*check("core", CHECKOUT / "core" / "src"), *check("src", CHECKOUT / "src")]
    if wrong:
        raise Failure("modules import what they may not:\n  " + "\n  ".join(wrong))


if __name__ == "__main__":
    environment.main(main)

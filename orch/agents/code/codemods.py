"""Changes of Python code that keep its layout and comments, by LibCST.

LibCST is imported where it is used: it is large, and a worker of another agent needs none of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from orch.agents.code.programs import need_module
from orch.errors import StepError


class Unreadable(Exception):
    """A source that is no Python, with the reason."""


def rename(sources: Mapping[Path, str], old: str, new: str) -> dict[Path, str]:
    """Rename a function, class or variable of a module wherever these files name it.

    old  the name, `total`, of any of these files that defines it at its top level; or with the
         module, `shop.cart.total`
    new  the name alone

    Names within functions that happen to be the same are others, and stay. Attributes of objects
    stay as well: nobody can say whose they are. Raises StepError `InvalidInput` for what is no
    name, `NotFound` where no file defines it, `Conflict` where the new name is taken; Unreadable.
    """
    need_module("libcst")
    from orch.agents.code.renaming import defines, names, renamed

    module, _, name = old.rpartition(".")
    for each in (name, new):
        if not each.isidentifier():
            raise StepError("InvalidInput", f"{each!r} cannot be the name of anything in Python")
    parsed = {file: parse(source) for file, source in sources.items() if name in source}
    homes = {
        file: module_title(file)
        for file, tree in parsed.items()
        if defines(tree, name) and _is_module(file, module)
    }
    if not homes:
        raise StepError(
            "NotFound", f"none of {len(sources)} files defines {old!r} at its top level"
        )
    modules = set(homes.values())
    texts = {}
    for file, tree in parsed.items():
        texts[file] = renamed(tree, name, new, local=file in homes, modules=modules)
        if texts[file] != sources[file] and names(tree, new):
            raise StepError(
                "Conflict", f"{str(file)!r} uses the name {new!r} already", hint="take another one"
            )
    return texts


def add_imports(source: str, modules: Iterable[str]) -> str:
    """Import modules at the top, where they are not. Raises Unreadable."""
    need_module("libcst")
    from libcst.codemod import CodemodContext
    from libcst.codemod.visitors import AddImportsVisitor

    tree = parse(source)
    context = CodemodContext()
    for module in sorted(modules):
        AddImportsVisitor.add_needed_import(context, module)
    return str(AddImportsVisitor(context).transform_module(tree).code)


def add_docstrings(source: str, module: str) -> str:
    """Give public functions and classes without a docstring one made of their names.

    Raises Unreadable.
    """
    need_module("libcst")
    from orch.agents.code.describing import Describer

    return str(parse(source).visit(Describer(module)).code)


def parse(source: str) -> Any:
    """The tree of a source. Raises Unreadable."""
    import libcst

    try:
        return libcst.parse_module(source)
    except libcst.ParserSyntaxError as exc:
        raise Unreadable(f"it is no Python: {exc.message} in line {exc.raw_line}") from exc
    except RecursionError as exc:
        raise Unreadable("it is nested too deeply") from exc


def module_title(file: Path) -> str:
    """What a module is called by those that import it."""
    return file.parent.name if file.stem == "__init__" else file.stem


def _is_module(file: Path, module: str) -> bool:
    """Whether a dotted name may mean a file: `shop.cart` any `…/shop/cart.py`."""
    if not module:
        return True
    path = file.parent if file.stem == "__init__" else file.with_suffix("")
    wanted: Sequence[str] = PurePath(module.replace(".", "/")).parts
    return path.parts[-len(wanted) :] == tuple(wanted)

"""The codemod that renames a name of a module, by what each use of it refers to."""

from __future__ import annotations

import libcst as cst
from libcst import matchers
from libcst.metadata import (
    GlobalScope,
    MetadataWrapper,
    QualifiedNameProvider,
    QualifiedNameSource,
    ScopeProvider,
)


def defines(tree: cst.Module, name: str) -> bool:
    """Whether a module gives a name a meaning of its own at its top level."""
    wrapper = MetadataWrapper(tree)
    scopes = {scope for scope in wrapper.resolve(ScopeProvider).values() if scope is not None}
    return any(
        isinstance(scope, GlobalScope)
        and any(not _is_import(assignment) for assignment in scope.assignments[name])
        for scope in scopes
    )


def names(tree: cst.Module, name: str) -> bool:
    """Whether a name stands anywhere in a module, whatever it means there."""
    return bool(matchers.findall(tree, matchers.Name(name)))


def _is_import(assignment: object) -> bool:
    return isinstance(getattr(assignment, "node", None), cst.Import | cst.ImportFrom)


def renamed(tree: cst.Module, old: str, new: str, *, local: bool, modules: set[str]) -> str:
    """The source with `old` renamed: its own one if `local`, and that of `modules`."""
    return MetadataWrapper(tree).visit(_Renamer(old, new, local, modules)).code


class _Renamer(cst.CSTTransformer):
    METADATA_DEPENDENCIES = (QualifiedNameProvider,)

    def __init__(self, old: str, new: str, local: bool, modules: set[str]) -> None:
        super().__init__()
        self.old = old
        self.new = new
        self.local = local
        self.modules = modules

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
        if original_node.value == self.old and self._is_meant(original_node):
            return updated_node.with_changes(value=self.new)
        return updated_node

    def leave_Attribute(
        self, original_node: cst.Attribute, updated_node: cst.Attribute
    ) -> cst.Attribute:
        name = updated_node.attr
        if name.value == self.old and self._is_meant(original_node):
            return updated_node.with_changes(attr=name.with_changes(value=self.new))
        return updated_node

    def leave_ImportFrom(
        self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom
    ) -> cst.ImportFrom:
        """`from shop.cart import total`: the scope knows what it binds, not what it names."""
        names = updated_node.names
        if isinstance(names, cst.ImportStar) or not self._from_home(original_node):
            return updated_node
        return updated_node.with_changes(names=[self._alias(alias) for alias in names])

    def leave_Assign(self, original_node: cst.Assign, updated_node: cst.Assign) -> cst.Assign:
        """`__all__ = ["total"]` names it as a text."""
        targets = [target.target for target in original_node.targets]
        value = updated_node.value
        says_all = any(isinstance(t, cst.Name) and t.value == "__all__" for t in targets)
        if not says_all or not isinstance(value, cst.List | cst.Tuple) or not self.local:
            return updated_node
        elements = [self._element(element) for element in value.elements]
        return updated_node.with_changes(value=value.with_changes(elements=elements))

    def _element(self, element: cst.BaseElement) -> cst.BaseElement:
        text = element.value
        if isinstance(text, cst.SimpleString) and text.evaluated_value == self.old:
            value = f"{text.prefix}{text.quote}{self.new}{text.quote}"
            return element.with_changes(value=text.with_changes(value=value))
        return element

    def _alias(self, alias: cst.ImportAlias) -> cst.ImportAlias:
        name = alias.name
        if isinstance(name, cst.Name) and name.value == self.old:
            return alias.with_changes(name=name.with_changes(value=self.new))
        return alias

    def _from_home(self, node: cst.ImportFrom) -> bool:
        """Whether it imports from one of the modules that define the name."""
        last = node.module
        while isinstance(last, cst.Attribute):
            last = last.attr
        return isinstance(last, cst.Name) and last.value in self.modules

    def _is_meant(self, node: cst.CSTNode) -> bool:
        for qualified in self.get_metadata(QualifiedNameProvider, node, set()):
            if qualified.source is QualifiedNameSource.LOCAL:
                if self.local and qualified.name == self.old:
                    return True
            elif qualified.source is QualifiedNameSource.IMPORT:
                module, _, name = qualified.name.rpartition(".")
                if name == self.old and module.rpartition(".")[2] in self.modules:
                    return True
        return False

"""Ranges of versions that a step takes from its capability: `>=2,<3`."""

from __future__ import annotations

from functools import cached_property

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version


class VersionRange:
    """A set of clauses as PEP 440 has them, all of which must hold: `==1.4.*`, `>=2,<3`, `~=1.4`.

    Raises ValueError. A pre-release counts only where a clause names one. What a semantic version
    has that PEP 440 cannot say (`2.0.0-alpha.beta`) is before all of its release.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._clauses = SpecifierSet(text)
        except InvalidSpecifier:
            raise ValueError(
                f"{text!r} is no range of versions; write clauses such as `>=2,<3` or `==1.4.*`"
            ) from None
        if not len(self._clauses):
            raise ValueError("an empty range of versions says nothing; leave it out")

    def holds(self, version: str) -> bool:
        return self._clauses.contains(_parsed(version), prereleases=self._names_early)

    @cached_property
    def _names_early(self) -> bool:
        return any(Version(c.version.removesuffix(".*")).is_prerelease for c in self._clauses)

    def __repr__(self) -> str:
        return f"VersionRange({self.text!r})"


def _parsed(version: str) -> Version:
    try:
        return Version(version)
    except InvalidVersion:
        release = version.partition("+")[0].partition("-")[0]
        return Version(f"{release}.dev0")

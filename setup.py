"""Builds the package with its contract in it; everything else stands in ``pyproject.toml``."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONTRACT = Path("router") / "v1"


class BuildWithContract(build_py):
    """Puts the ``.proto`` files, which lie outside the packages, beside the code that is generated from them."""

    def run(self) -> None:
        """Build, then copy; an editable installation reads them where they lie."""
        super().run()
        if not self.editable_mode:
            for source in sorted((Path("proto") / CONTRACT).glob("*.proto")):
                shutil.copy(source, Path(self.build_lib) / CONTRACT)


setup(cmdclass={"build_py": BuildWithContract})

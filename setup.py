"""What pyproject.toml cannot say: the wheel brings the files of a project, mini weights included.

They go into spikevaediff/project of the wheel, for `spikevaediff init`; a checkout uses its own.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithProject(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for name in self.project_files():
                target = Path(self.build_lib, "spikevaediff/project", name)
                self.mkpath(str(target.parent))
                self.copy_file(str(ROOT / name), str(target))

    def project_files(self) -> list[str]:
        scope: dict = {}
        exec((ROOT / "src/spikevaediff/files/project.py").read_text(encoding="utf-8"), scope)  # imports nothing of ours
        return scope["files_of"](ROOT)


setup(cmdclass={"build_py": BuildWithProject})

"""The original package's example, as it is on its page and in README.md, on a small tree."""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict

from incremental_backups_tools import Dir, apply_diff


def main() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    found = re.search(r"```python\n(from incremental_backups_tools import DirIndex.*?)```", readme, re.S)
    assert found is not None
    with tempfile.TemporaryDirectory() as home:
        mydir, copy = Path(home, "mydir"), Path(home, "copy")
        (mydir / "sub").mkdir(parents=True)
        (mydir / "file1").write_text("contents1")
        (mydir / "sub/file2").write_text("contents2")
        shutil.copytree(mydir, copy)

        def change() -> None:
            (mydir / "file1").write_text("contents1 changed")
            (mydir / "file3").write_text("contents3")
            shutil.rmtree(mydir / "sub")

        # Nothing else is changed in it.
        example = found[1].replace("/home/thomas", home)
        example = example.replace("# Make some changes in the directory", "change()")
        assert "change()" in example
        names: Dict[str, Any] = {"change": change}
        exec(example, names)
        # It was applied to the tree that has the changes already. This one has not.
        applied = apply_diff(copy, names["diff_index"], names["diff_archive"])
        assert (applied.created, applied.updated, applied.deleted) == (1, 1, 2)
        assert Dir(copy).hash() == Dir(mydir).hash()
    print("The original's example ran, and the copy is as the directory.")


if __name__ == "__main__":
    main()

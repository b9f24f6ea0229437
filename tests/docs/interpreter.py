"""One interpreter for the Python blocks of all pages: it imports what they import once.

It reads orders, a line of JSON each: `page`, `line`, `code`, and the page's `folder` and `environ`. Blocks of one page
share their names. It answers `{"ok", "output"}`, where a failed block's output ends with the traceback.
"""

import contextlib
import io
import json
import os
import sys
import traceback
from types import ModuleType


def run(order: dict[str, object], module: ModuleType) -> bool:
    """Run one block in the names of its page, and say whether it came to its end."""
    # As many empty lines before it as the page has: a traceback names the page's own line.
    source = "\n" * (int(str(order["line"])) - 1) + str(order["code"])
    try:
        exec(compile(source, str(order["page"]), "exec", dont_inherit=True), vars(module))
    except BaseException:
        traceback.print_exc()
        return False
    return True


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What a block starts writes to the error stream, never into the answers.
    os.dup2(2, 1)
    page = None
    for line in sys.stdin:
        order = json.loads(line)
        if order["page"] != page:
            page = order["page"]
            module = sys.modules["__main__"] = ModuleType("__main__")
            os.environ.clear()
            os.environ.update(order["environ"])
            os.chdir(order["folder"])
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            ok = run(order, module)
        answers.write(json.dumps({"ok": ok, "output": output.getvalue()}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()

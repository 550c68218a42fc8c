"""Functions that jobs can name, and the files that they stand in."""
import importlib.machinery
import importlib.util
import inspect
import os
import re
import sys

from .schema import signature
from .values import InvalidOutput, clean

#: Tasks by name.
tasks = {}
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class NotATask(ValueError):
    """What cannot be a task; says where it stands and why."""

    def __init__(self, function, why):
        code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
        where = f"{code.co_filename}:{code.co_firstlineno}: " if code else ""
        super().__init__(f"{where}{getattr(function, '__qualname__', None) or repr(function)} cannot be a task: {why}")


class Task:
    """A function that jobs can name."""

    def __init__(self, function, name, kind, timeout, max_attempts, description):
        if not callable(function) or inspect.isclass(function):
            raise NotATask(function, "it is no function")
        self.function = function
        self.name = name or getattr(function, "__name__", "")
        self.is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        self.kind = kind or ("io" if self.is_async else "cpu")
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise NotATask(function, f"1 to 64 letters, digits, -, _ or . make a name, and {self.name!r} is none")
        if self.kind not in ("cpu", "io"):
            raise NotATask(function, f'kind is "cpu" or "io", not {kind!r}')
        text = description or inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        self.description = clean(text, 4096)
        self.defaults = {}
        if timeout is not None:
            self.defaults["timeout"] = timeout if isinstance(timeout, str) else f"{timeout}s"
        if max_attempts is not None:
            if type(max_attempts) is not int or not 1 <= max_attempts <= 1000:
                raise NotATask(function, f"max_attempts is 1 to 1000, not {max_attempts!r}")
            self.defaults["max_attempts"] = max_attempts
        self.is_quick = False
        try:
            self.bind, self.input, self.output, self.reads_digits = signature(function)
        except (TypeError, ValueError, InvalidOutput, RecursionError) as error:
            raise NotATask(function, clean(error, 4096)) from error

    def described(self):
        described = {"name": self.name, "kind": self.kind, "description": self.description, "input": self.input,
                     "concurrent": self.is_async, "defaults": self.defaults}
        if self.output is not None:
            described["output"] = self.output
        return described


def task(function=None, *, name=None, kind=None, timeout=None, max_attempts=None, description=None):
    """Makes a function a task. Its parameters become the members of the input, its annotations their schema.

    kind: "cpu" or "io". timeout: of one attempt, "30s" or seconds. max_attempts: 1 to 1000.
    The function itself stays as it is and can be called as before.
    """
    def register(function):
        made = Task(function, name, kind, timeout, max_attempts, description)
        if made.name in tasks:
            raise NotATask(function, f"there are two tasks named {made.name!r}")
        tasks[made.name] = made
        return function
    return register if function is None else register(function)


class SourceLoader(importlib.machinery.SourceFileLoader):
    """Compiles the file as it is now: cached bytecode is told from its source by size and whole seconds only."""

    def get_code(self, fullname):
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def load(path):
    """Imports a file of tasks, with its directory first on the path."""
    path = os.path.abspath(path)
    sys.path.insert(0, os.path.dirname(path))
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path, loader=SourceLoader(name, path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

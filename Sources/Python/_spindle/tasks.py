"""Functions that jobs can name, and the files that they stand in."""
import importlib.machinery
import importlib.util
import inspect
import os
import sys

from .schema import signature

#: Tasks by name.
tasks = {}


class Task:
    """A function that jobs can name."""

    def __init__(self, function, name, kind, timeout, max_attempts, description):
        self.function = function
        self.name = name or function.__name__
        self.is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        self.kind = kind or ("io" if self.is_async else "cpu")
        self.description = description or inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        self.defaults = {}
        if timeout is not None:
            self.defaults["timeout"] = timeout if isinstance(timeout, str) else f"{timeout}s"
        if max_attempts is not None:
            self.defaults["max_attempts"] = max_attempts
        self.is_quick = False
        self.bind, self.input, self.output = signature(function)

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
            raise ValueError(f"there are two tasks named {made.name!r}")
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

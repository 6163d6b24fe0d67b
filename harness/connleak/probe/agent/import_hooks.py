"""Calls a function right after a module was first imported, without importing it."""

import sys

_waiting = {}  # type: dict


class _Finder:
    """Stands first in sys.meta_path and wraps the loader of the modules that we wait for; all others pass."""

    def find_spec(self, name, path=None, target=None):
        if name not in _waiting:
            return None
        callback = _waiting.pop(name)
        spec = None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    break
        if spec is None or spec.loader is None or not hasattr(spec.loader, "exec_module"):
            return spec
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            run(callback, module)

        try:
            spec.loader.exec_module = exec_module
        except AttributeError:  # a loader that takes no attributes: the module stays unwatched
            pass
        return spec


def run(callback, module):
    """Calls back; what we do wrong is never the app's error."""
    try:
        callback(module)
    except Exception as error:
        from . import state as table

        table.note("cannot watch %s: %r" % (module.__name__, error))


def after_import(name, callback):
    """Arranges `callback(module)`, at once when the module is already there."""
    if name in sys.modules:
        run(callback, sys.modules[name])
        return
    _waiting[name] = callback
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())

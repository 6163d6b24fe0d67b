"""Call a function right after a module is first imported, without importing it."""

import sys

from .state import note

_waiting = {}  # type: dict


class _Finder:
    """The first entry of sys.meta_path: wraps the loaders of the awaited modules, and ignores all others."""

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
        except AttributeError:  # the loader does not allow it: the module stays unwatched
            pass
        return spec


def run(callback, module):
    """Call back; an error of the probe never reaches the app."""
    try:
        callback(module)
    except Exception as error:
        note("cannot watch %s: %r" % (module.__name__, error))


def after_import(name, callback):
    """Call `callback(module)` after the import, or at once if the module is imported already."""
    if name in sys.modules:
        run(callback, sys.modules[name])
        return
    _waiting[name] = callback
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())

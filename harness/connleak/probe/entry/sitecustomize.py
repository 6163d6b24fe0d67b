"""Load connleak's probe if its variables are set, then the sitecustomize that this one hides, if there is one."""

import os
import sys


def _load_probe():
    import importlib.util

    agent = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "agent")
    spec = importlib.util.spec_from_file_location(
        "_connleak_probe", os.path.join(agent, "__init__.py"), submodule_search_locations=[agent]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["_connleak_probe"] = module
    spec.loader.exec_module(module)
    module.install()


def _load_next():
    """Import the sitecustomize that would have been found without this folder."""
    here = os.path.dirname(os.path.abspath(__file__))
    path = sys.path[:]
    this = sys.modules.pop("sitecustomize", None)
    sys.path[:] = [entry for entry in path if os.path.abspath(entry or ".") != here]
    try:
        import sitecustomize  # noqa: F401
    except ImportError as error:
        if getattr(error, "name", "sitecustomize") != "sitecustomize":
            raise
        if this is not None:
            sys.modules["sitecustomize"] = this


if os.environ.get("CONNLEAK_SOCKET"):
    try:
        _load_probe()
    except Exception:  # the app comes first: the recording shows that the probe is missing
        if os.environ.get("CONNLEAK_PROBE_DEBUG"):
            raise
_load_next()

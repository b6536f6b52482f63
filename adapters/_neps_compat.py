"""Whether neps can be used, and how to install it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from metad2a_plugin.errors import HostError
from metad2a_plugin.utils.installed import version_of

INSTALL = (
    "get it with: pip install --no-deps neural-pipeline-search botorch==0.12.0 gpytorch==1.13 ifbo && "
    "pip install linear-operator jaxtyping==0.2.19 pyro-ppl multipledispatch more-itertools 'portalocker<3' submitit "
    "'seaborn<0.14' tensorboard pandas scipy matplotlib pyyaml requests"
)
"""Its own pins exclude the networkx of this package, and bring a torch of their own."""


def check() -> None:
    """Import the package with all that it imports itself.

    Raises:
        HostError: it is not there, or does not import.
    """
    if find_spec("neps") is None:
        raise HostError(f"the neps adapter needs neps, which is not installed; {INSTALL}")
    try:
        import_module("neps.optimizers.optimizer")
    except Exception as error:  # a host's import can raise anything
        found = version_of("neural-pipeline-search")
        raise HostError(f"neps {found} does not import: {type(error).__name__}: {error}; {INSTALL}") from error

"""The only place that constructs adapters: store, Docker, NVML, HTTP.

Everything is made on first use, so that a command pays for what it needs: ``status`` never imports Docker, ``--help`` imports
nothing at all. Commands take a :class:`World`; tests hand in another.
"""

from __future__ import annotations

import os
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from launchpad.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from launchpad.clock import Clock
    from launchpad.deploy.claims import Claims
    from launchpad.deploy.spec import Spec
    from launchpad.health.probe import Prober
    from launchpad.profiles.catalog import Catalog
    from launchpad.rig.catalog import RigCatalog
    from launchpad.rig.facts import RigFacts
    from launchpad.runtime.base import Runtime
    from launchpad.store.state import Store
    from launchpad.supervise.alerts import Alerts
    from launchpad.supervise.alerts_config import AlertsConfig
    from launchpad.supervise.outside import GpuSamples


def warn(text: str) -> None:
    """Say something on stderr that is no answer."""
    print(f"warning: {text}", file=sys.stderr)


class World:
    """This machine as launchpad meets it."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.environ: Mapping[str, str] = os.environ if environ is None else environ
        self.clock: Clock = SystemClock()

    @cached_property
    def store(self) -> Store:
        """The state directory."""
        from launchpad.store.state import Store, root

        return Store(root(self.environ, uid=os.geteuid(), home=Path.home()), warn)

    @property
    def owner(self) -> str:
        """What our containers carry as their owner: the state directory."""
        return str(self.store.root)

    @cached_property
    def runtime(self) -> Runtime:
        """The Docker Engine; raises RuntimeUnavailable where it does not answer."""
        from launchpad.runtime.docker import connect

        return connect(self.environ)

    @cached_property
    def profiles(self) -> Catalog:
        """The profiles of the search path."""
        from launchpad.profiles.catalog import Catalog, search_path

        return Catalog(search_path(self.environ))

    @cached_property
    def rigs(self) -> RigCatalog:
        """The recorded rigs."""
        from launchpad.profiles.catalog import search_path
        from launchpad.rig.catalog import RigCatalog

        return RigCatalog(search_path(self.environ))

    def facts(self, rig: str | None) -> RigFacts:
        """The facts of a recorded rig, or of this machine."""
        if rig is not None:
            return self.rigs.facts(rig)
        from launchpad.rig.survey import survey

        return survey()

    def templates(self) -> tuple[Path, ...]:
        """Where image templates are looked for."""
        from launchpad.deploy.build import template_roots
        from launchpad.profiles.catalog import search_path

        return template_roots(search_path(self.environ))

    def wanted_specs(self) -> tuple[Spec, ...]:
        """The specs of every deployment that is wanted up."""
        from launchpad.deploy.spec import Spec
        from launchpad.store.state import Wanted

        found = (item.read_wanted(Wanted[Spec], self.clock.now()) for item in self.store.deployments())
        return tuple(wanted.spec for wanted in found if wanted is not None and wanted.wanted)

    def claims(self, name: str, runtime: Runtime | None) -> Claims:
        """What every deployment but ``name`` holds; without a runtime, as far as our own files say."""
        from launchpad.deploy.claims import claims_of

        return claims_of(name, self.wanted_specs(), runtime.containers() if runtime else ())

    def runtime_for(self, *, hosted: bool) -> Runtime:
        """What runs a deployment's containers: the Docker Engine, or nothing for one that is hosted elsewhere."""
        if not hosted:
            return self.runtime
        from launchpad.runtime.none import NoRuntime

        return cast("Runtime", NoRuntime())

    def prober(self, base_url: str, key: str | None = None, *, outside: bool = False) -> Prober:
        """Asks the server at ``base_url``; ``key`` is its bearer token, ``outside`` says that it is no server of ours."""
        from launchpad.health.http import HttpProber

        headers = {"Authorization": f"Bearer {key}"} if key else None
        return HttpProber(base_url, headers, clock=self.clock, outside=outside)

    def alerts(self) -> Alerts:
        """Who is told when something goes wrong; a configuration that cannot be used costs the alerts and nothing else."""
        from launchpad.supervise.alerts import NoAlerts, WebhookAlerts
        from launchpad.supervise.alerts_config import ConfigError

        try:
            config = self.alerts_config()
        except ConfigError as error:
            problems = (f"nobody will be told: {error.message}", *error.problems)
            return NoAlerts(self.store, problems, error.hint)
        if not config.webhooks:
            return NoAlerts(self.store, config.problems)
        from launchpad.health.post import post

        return WebhookAlerts(config, self.store, self.clock, post, host=self.host)

    def alerts_config(self) -> AlertsConfig:
        """Who is to be told, as launchpad.toml says; raises ConfigError."""
        from launchpad.supervise.alerts_config import AlertsConfig, config_path, read_config

        path = config_path(self.environ, uid=os.geteuid(), home=Path.home())
        return AlertsConfig() if path is None else read_config(path, self.environ)

    @property
    def host(self) -> str:
        """What this machine calls itself."""
        import socket

        return socket.gethostname()

    def samples(self, spec: Spec, serving: Callable[[], bool]) -> GpuSamples:
        """Where the deployment's GPU samples come from: nowhere without GPUs, a recorded rig in a rehearsal, else NVML."""
        from launchpad.supervise.samples import NoSamples, NvmlSamples, RecordedSamples

        if not spec.gpus:
            return NoSamples()
        if spec.rehearsal is not None:
            from launchpad.rehearse.faults import parse_faults
            from launchpad.rig.catalog import recorded_samples

            rig = self.rigs.load(spec.rehearsal.rig)
            faults = [fault for fault in parse_faults(spec.rehearsal.faults) if fault.gpu]
            return RecordedSamples(
                lambda: recorded_samples(rig, serving=serving(), now=self.clock.now()),
                serving,
                faults,
                first=spec.gpus[0].index,
            )
        return NvmlSamples()

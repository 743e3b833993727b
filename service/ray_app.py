"""The service as a Ray Serve application: `serve run service.ray_app:build checkpoint=DIR`.

`build` is an application builder, called by Ray with what stands after it on the command line or
under `args` in a config file, such as docker/ray/serve.yaml. Arguments are the settings of
`lamm serve` and those of `RayArgs`; `LAMM_` environment variables count here as well.

Ray reads the type of `build`'s argument as it stands: annotations must be no strings here.
"""

from typing import Any, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from pydantic_settings import SettingsConfigDict
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from starlette.types import ASGIApp

from service.config.settings import Settings
from service.ray.gateway import GatewayConfig, create_gateway
from service.ray.replica import Replica
from service.ray.router import MediaAffinityRouter

REPLICA, GATEWAY = "Replica", "Gateway"

# Beside what replicas take: probes, lists, and what waits in the gateway.
_SPARE_REQUESTS = 64
_GATEWAY_CPUS = 0.1
# After this Ray kills a replica whose own end, at `shutdown_timeout_s`, did not come.
_STOP_MARGIN_S = 10.0


class RayArgs(Settings):
    """`lamm serve`'s settings, of which host, port and write_timeout_s are Ray's affair, and these.

    Limits of the settings hold for each replica.
    """

    model_config = SettingsConfigDict(env_prefix="LAMM_", frozen=True, extra="forbid")

    min_replicas: PositiveInt = Field(default=1, description="replicas that are always there")
    max_replicas: PositiveInt = Field(default=1, description="replicas that may be there")
    target_ongoing_requests: PositiveFloat | None = Field(
        default=None,
        description="requests a replica, running or waiting, that scaling aims at "
        "(default: max_num_seqs, so that what waits brings replicas)",
    )
    upscale_delay_s: float = Field(
        default=10.0, ge=0, description="seconds of too many requests before replicas come"
    )
    downscale_delay_s: float = Field(
        default=600.0, ge=0, description="seconds of too few requests before replicas go"
    )
    num_cpus: float = Field(default=1.0, ge=0, description="CPUs that Ray sets aside for a replica")
    num_gpus: float = Field(
        default=0.0, ge=0, le=1, description="GPU of a replica; 0.5 puts two on one device"
    )
    gateways: PositiveInt = Field(
        default=1, description="processes that read requests and find them a replica"
    )
    busy_at: PositiveInt | None = Field(
        default=None,
        description="requests at a replica from which on its pictures go elsewhere "
        "(default: max_num_seqs)",
    )
    replica_wait_s: PositiveFloat = Field(
        default=30.0, description="seconds a request may wait for a replica; then it is given up"
    )
    health_check_period_s: PositiveFloat = Field(
        default=10.0, description="seconds between two looks at a replica's engine; three bad ones "
        "replace it",
    )  # fmt: skip

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas is {self.min_replicas}, more than max_replicas, {self.max_replicas}"
            )
        if self.max_replicas > 1 and self.files_dir is None:
            raise ValueError(
                f"max_replicas is {self.max_replicas}, and files_dir is not given: an uploaded "
                "file would be found by one replica alone; name a directory that all of them share"
            )
        if 0 < self.num_gpus < 1 and self.kv_cache_bytes is None:
            raise ValueError(
                f"num_gpus is {self.num_gpus:g}, and kv_cache_bytes is not given: each replica "
                "would take what it finds free of the whole device"
            )
        return self


def build(args: RayArgs) -> Application:
    """Gateways before replicas, as `args` say; Ray has checked them against their types."""
    return application(args, Replica)


def application(args: RayArgs, replica: type[Replica]) -> Application:
    """The same with replicas of another class, as tests and other engines need."""
    settings = Settings(**{name: getattr(args, name) for name in Settings.model_fields})
    replicas = serve.deployment(replica, name=REPLICA).options(**_replica_options(args))

    def gateway() -> ASGIApp:
        config = GatewayConfig(settings, args.replica_wait_s)
        return create_gateway(config, lambda: serve.get_deployment_handle(REPLICA))

    gateways = serve.deployment(serve.ingress(gateway)(), name=GATEWAY).options(
        num_replicas=args.gateways,
        max_ongoing_requests=args.max_replicas * _most_requests(args),
        ray_actor_options={"num_cpus": _GATEWAY_CPUS},
    )
    return gateways.bind(replicas.bind(settings))


def _replica_options(args: RayArgs) -> dict[str, Any]:
    options: dict[str, Any] = {
        # The engine's own queue refuses with 503; Ray's limit is above it.
        "max_ongoing_requests": _most_requests(args),
        "max_queued_requests": args.max_waiting_requests,
        "ray_actor_options": {"num_cpus": args.num_cpus, "num_gpus": args.num_gpus},
        "health_check_period_s": args.health_check_period_s,
        "graceful_shutdown_timeout_s": args.shutdown_timeout_s + _STOP_MARGIN_S,
        "graceful_shutdown_wait_loop_s": 0.5,
        "request_router_config": RequestRouterConfig(
            request_router_class=MediaAffinityRouter,
            request_router_kwargs={"busy_at": args.busy_at or args.max_num_seqs},
        ),
    }
    if args.min_replicas == args.max_replicas:
        return options | {"num_replicas": args.max_replicas}
    return options | {
        "autoscaling_config": AutoscalingConfig(
            min_replicas=args.min_replicas,
            max_replicas=args.max_replicas,
            target_ongoing_requests=args.target_ongoing_requests or float(args.max_num_seqs),
            upscale_delay_s=args.upscale_delay_s,
            downscale_delay_s=args.downscale_delay_s,
        )
    }


def _most_requests(args: RayArgs) -> int:
    return args.max_num_seqs + args.max_waiting_requests + _SPARE_REQUESTS

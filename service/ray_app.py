"""The service as a Ray Serve application: `serve run service.ray_app:build checkpoint=DIR`.

Ray calls `build` with the arguments of its command line, or with `args` of a config file such as
docker/ray/serve.yaml. Arguments are the settings of `lamm serve` and those of `RayArgs`; `LAMM_`
environment variables apply too.

Ray reads the type annotation of `build` at run time, so annotations must not be strings here.
"""

from typing import Any, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from pydantic_settings import SettingsConfigDict
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from starlette.types import ASGIApp

from service.config.settings import Settings
from service.engine.config import BatchSizes
from service.ray.gateway import GatewayConfig, create_gateway
from service.ray.replica import Replica
from service.ray.router import MediaAffinityRouter

REPLICA, GATEWAY = "Replica", "Gateway"

# Beyond the requests that replicas run: probes, lists, and requests that wait in the gateway.
_SPARE_REQUESTS = 64
_GATEWAY_CPUS = 0.1
# Ray kills a replica that has not ended this long after `shutdown_timeout_s`.
_STOP_MARGIN_S = 10.0


class RayArgs(Settings):
    """`lamm serve`'s settings, without those of its own server (host, port, timeouts), and Ray's.

    Limits apply per replica.
    """

    model_config = SettingsConfigDict(env_prefix="LAMM_", frozen=True, extra="forbid")

    min_replicas: PositiveInt = Field(default=1, description="minimum number of replicas")
    max_replicas: PositiveInt = Field(default=1, description="maximum number of replicas")
    target_ongoing_requests: PositiveFloat | None = Field(
        default=None,
        description="target number of running and waiting requests per replica (default: "
        "max_num_seqs, so that waiting requests add replicas)",
    )
    upscale_delay_s: float = Field(
        default=10.0, ge=0, description="seconds above the target before replicas are added"
    )
    downscale_delay_s: float = Field(
        default=600.0, ge=0, description="seconds below the target before replicas are removed"
    )
    num_cpus: float = Field(default=1.0, ge=0, description="CPUs that Ray reserves per replica")
    num_gpus: float = Field(
        default=0.0, ge=0, le=1, description="GPUs per replica; 0.5 puts two on one device"
    )
    gateways: PositiveInt = Field(
        default=1,
        description="number of gateway processes, which read requests and choose replicas",
    )
    busy_at: PositiveInt | None = Field(
        default=None,
        description="requests on a replica from which its pictures are sent elsewhere (default: "
        "max_num_seqs)",
    )
    replica_wait_s: PositiveFloat = Field(
        default=30.0, description="seconds a request may wait for a replica before it is refused"
    )
    health_check_period_s: PositiveFloat = Field(
        default=10.0, description="seconds between health checks; three failures replace a replica",
    )  # fmt: skip

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas is {self.min_replicas}; it must be at most max_replicas, "
                f"{self.max_replicas}"
            )
        if self.max_replicas > 1 and self.files_dir is None:
            raise ValueError(
                f"max_replicas is {self.max_replicas}, but files_dir is not set: an uploaded "
                "file would exist on one replica only; set a directory that all replicas "
                "share"
            )
        if 0 < self.num_gpus < 1 and self.kv_cache_bytes is None:
            raise ValueError(
                f"num_gpus is {self.num_gpus:g}, but kv_cache_bytes is not set: each replica "
                "would take the whole device's free memory"
            )
        return self


def build(args: RayArgs) -> Application:
    """Gateways in front of replicas, as `args` configure them; Ray has validated the types."""
    return application(args, Replica)


def application(args: RayArgs, replica: type[Replica]) -> Application:
    """Like `build`, with another replica class, for tests and other engines."""
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
        # The engine's own queue refuses requests with 503; Ray's limit is higher.
        "max_ongoing_requests": _most_requests(args),
        "max_queued_requests": args.max_waiting_requests,
        "ray_actor_options": {"num_cpus": args.num_cpus, "num_gpus": args.num_gpus},
        "health_check_period_s": args.health_check_period_s,
        "graceful_shutdown_timeout_s": args.shutdown_timeout_s + _STOP_MARGIN_S,
        "graceful_shutdown_wait_loop_s": 0.5,
        "request_router_config": RequestRouterConfig(
            request_router_class=MediaAffinityRouter,
            request_router_kwargs={"busy_at": args.busy_at or _seats(args)},
        ),
    }
    if args.min_replicas == args.max_replicas:
        return options | {"num_replicas": args.max_replicas}
    return options | {
        "autoscaling_config": AutoscalingConfig(
            min_replicas=args.min_replicas,
            max_replicas=args.max_replicas,
            target_ongoing_requests=args.target_ongoing_requests or float(_seats(args)),
            upscale_delay_s=args.upscale_delay_s,
            downscale_delay_s=args.downscale_delay_s,
        )
    }


def _seats(args: RayArgs) -> int:
    """Sequences that run at once on a replica, whose device this process may not have."""
    on_cuda = args.device == "cuda" or (args.device == "auto" and args.num_gpus > 0)
    sizes = BatchSizes.of_device(on_cuda, args.max_num_seqs, args.max_num_batched_tokens)
    return sizes.max_num_seqs


def _most_requests(args: RayArgs) -> int:
    return _seats(args) + args.max_waiting_requests + _SPARE_REQUESTS

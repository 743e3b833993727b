"""Tensors that are on CUDA for the code that uses them, with their values in host memory.

Every operator on them is executed twice: by torch on fake CUDA tensors, which refuses what a GPU
refuses, and on the values, so that sampled tokens and other decisions are real. The values show
what the code computes; kernels, their rounding and their time remain unseen.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from tests.service.engine.gpu_trace.record import Event, Record

CUDA = torch.device("cuda", 0)
_CPU = torch.device("cpu")
_COPIES = frozenset({"to", "_to_copy", "copy_", "cpu", "cuda"})
# The sizes or values of their results are read by the host.
_WAITS = frozenset(
    {
        "_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "nonzero_numpy",
        "argwhere", "masked_select", "bincount", "unique_consecutive", "unique_dim", "_unique2",
    }
)  # fmt: skip
# The shape of the result depends on values, which fake tensors do not have.
_CANNOT_INFER = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)
# torch asks the GPU's properties to choose a kernel.
_ASKS_THE_GPU = frozenset({"scaled_dot_product_attention"})


class WrongDeviceError(RuntimeError):
    """A GPU would refuse this operator."""


class DeviceTensor(Tensor):
    """Says that it is on `CUDA`; `host` has its values."""

    host: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, host: Tensor) -> DeviceTensor:
        made: DeviceTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=CUDA,
        )
        made.host = host
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override] # torch declares no class method
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise WrongDeviceError(f"{func} runs outside of the trace")

    def tolist(self) -> Any:
        """Torch's own does not support subclasses."""
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Refused, as on a GPU."""
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


class DeviceMode(TorchDispatchMode):
    """Executes operators on device tensors; `fake` must be entered before it."""

    def __init__(self, fake: FakeTensorMode, record: Record) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._fake, self._record = fake, record
        # Kept alive, so that no other storage gets the same address.
        self._pinned: list[torch.UntypedStorage] = []
        self._checked: set[Any] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        flat, spec = tree_flatten((args, dict(kwargs or {})))
        wrappers = {id(one.host): one for one in flat if isinstance(one, DeviceTensor)}
        asked = [one for one in flat if isinstance(one, torch.device)]
        moved = asked[0].type == "cuda" if asked else bool(wrappers)
        name = func.overloadpacket.__name__
        if moved or wrappers:
            self._record.op()
            self._note(func, name, flat, args, kwargs or {}, moved)
            self._check(func, name, flat, spec)
        host_args, host_kwargs = tree_unflatten([_on_host(one) for one in flat], spec)
        pinned = host_kwargs.get("pin_memory")
        if pinned:
            host_kwargs["pin_memory"] = False
        # Tensors of inference mode could not be views of the weights and the cache, which are not.
        with _disable_current_modes(), torch.inference_mode(False), torch.no_grad():
            out = func(*host_args, **host_kwargs)
            given = {id(one): one for one in tree_flatten((host_args, host_kwargs))[0]}
            result = tree_map(lambda one: self._place(one, wrappers, given, moved), out)
        if pinned:
            self._pinned.append(result.untyped_storage())
        return result

    def _place(
        self, out: Any, wrappers: dict[int, DeviceTensor], given: dict[int, Any], moved: bool
    ) -> Any:
        """The result of an operator, on the device that it belongs to."""
        if not isinstance(out, Tensor):
            return out
        own = wrappers.get(id(out))
        if own is not None and moved:
            if out.shape != own.shape:
                raise NotImplementedError("an operator that resizes its input in place")
            return own
        if moved:
            # A copy, as a transfer to the device is.
            return DeviceTensor(out.clone() if id(out) in given else out)
        return out.clone() if own is not None else out

    def _check(self, func: Any, name: str, flat: Sequence[Any], spec: Any) -> None:
        """Lets torch infer the result's device.

        Raises:
            WrongDeviceError: torch refuses, as a GPU would.
        """
        if name in _ASKS_THE_GPU:
            self._compare(name, flat)
            return
        key = (func, str(spec), *(_looks(one) for one in flat))
        if key in self._checked:
            return
        args, kwargs = tree_unflatten([self._faked(one) for one in flat], spec)
        try:
            func(*args, **kwargs)
        except _CANNOT_INFER:
            self._compare(name, flat)
            return
        except Exception as error:
            self._refuse(f"{name}: {error}")
        self._checked.add(key)

    def _compare(self, name: str, flat: Sequence[Any]) -> None:
        self._record.unchecked[name] += 1
        tensors = [one for one in flat if isinstance(one, Tensor)]
        if not all(isinstance(one, DeviceTensor) or not one.dim() for one in tensors):
            self._refuse(f"{name}: a tensor is on the CPU")

    def _refuse(self, message: str) -> None:
        self._record.refuse(message)
        raise WrongDeviceError(message)

    def _faked(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        device = CUDA if isinstance(value, DeviceTensor) else _CPU
        if device is _CPU and not value.dim():
            # A number that torch wraps may be combined with a tensor of any device.
            return self._fake.from_tensor(value)
        with self._fake:
            return torch.empty_strided(
                value.size(), value.stride(), dtype=value.dtype, device=device
            )

    def _note(
        self, func: Any, name: str, flat: Sequence[Any], args: Any, kwargs: Any, moved: bool
    ) -> None:
        """Counts copies between host and device, and waits."""
        note, op = self._record.note, str(func).removeprefix("aten.")
        source = next((one for one in flat if isinstance(one, Tensor)), None)
        if name == "copy_":
            moved, source = isinstance(args[0], DeviceTensor), args[1]
        indices = (
            [one for one in args[1] if one is not None]
            if name.startswith("index") and (isinstance(args[1], (list, tuple)))
            else []
        )
        if name in _COPIES and source is not None:
            if moved and not isinstance(source, DeviceTensor):
                note(Event.PINNED_UPLOAD if self._is_pinned(source) else Event.UPLOAD, op)
            elif not moved and isinstance(source, DeviceTensor):
                note(Event.DOWNLOAD, op)
                note(Event.SYNC, op)
        for index in indices:
            if not isinstance(index, DeviceTensor):
                note(Event.UPLOAD, op)
        masked = any(index.dtype in (torch.bool, torch.uint8) for index in indices)
        # A mask that selects where one value is written is a fill.
        fills = name == "index_put_" and args[2].numel() == 1
        grows = name == "repeat_interleave" and kwargs.get("output_size") is None
        if name in _WAITS or grows or (masked and not fills):
            note(Event.SYNC, op)

    def _is_pinned(self, tensor: Tensor) -> bool:
        address = tensor.untyped_storage().data_ptr()
        return any(storage.data_ptr() == address for storage in self._pinned)


def _looks(value: Any) -> Any:
    """What torch sees of an argument; equal arguments are checked once."""
    if not isinstance(value, Tensor):
        return str(value)
    return type(value), value.dtype, value.shape, value.stride()


def _on_host(value: Any) -> Any:
    if isinstance(value, DeviceTensor):
        return value.host
    return _CPU if isinstance(value, torch.device) and value.type == "cuda" else value


@contextmanager
def traced_device(record: Record, total_bytes: int) -> Iterator[None]:
    """A GPU with that memory, of which none is used, for the engine's questions to torch.cuda."""

    def waits(*_: object, **__: object) -> None:
        record.note(Event.SYNC, "synchronize")

    answers: dict[str, Any] = {
        "mem_get_info": lambda *_: (total_bytes, total_bytes),
        "synchronize": waits,
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda *_: None,
        "memory_reserved": lambda *_: 0,
        "max_memory_reserved": lambda *_: 1 << 20,
    }
    with (
        _interpreted_kernels(record),
        FakeTensorMode(allow_non_fake_inputs=True) as fake,
        DeviceMode(fake, record),
        mock.patch.multiple("torch.cuda", **answers),
        # `Module.to` makes new parameters; one that is on a CPU cannot become a device tensor.
        mock.patch("torch.__future__.get_overwrite_module_params_on_conversion", return_value=True),
        mock.patch("service.engine.model_runner.choose_device", return_value=torch.device("cuda")),
    ):
        yield


@contextmanager
def _interpreted_kernels(record: Record) -> Iterator[None]:
    """Runs Triton's kernels on the values of device tensors, if Triton is there."""

    def launch(kernel: Any, grid: Any, arguments: Any, block: int, num_warps: int) -> None:
        name = kernel.fn.__name__
        record.op()
        record.kernels[name] += 1
        for one in arguments:
            if isinstance(one, Tensor) and not isinstance(one, DeviceTensor):
                record.refuse(f"{name}: a tensor is on the CPU")
                raise WrongDeviceError(f"{name}: a tensor is on the CPU")
        with _disable_current_modes(), torch.no_grad():
            kernel[grid](*(_on_host(one) for one in arguments), BLOCK=block, num_warps=num_warps)

    with ExitStack() as stack:
        if importlib.util.find_spec("triton") is not None:
            name = "lamm_model.encoders.sampling_kernel.launch"
            stack.enter_context(mock.patch(name, launch))
        yield

"""Writes the PyTorch files of this folder (6 KiB) with Python's own pickler, without torch: stand-ins pickle to the same
bytes that torch.save writes. One file per pickle protocol and container; all hold the same state dict.

    python3 make.py
"""
import collections, io, pickle, struct, sys, types, zipfile

for name in ("torch", "torch._utils"):
    sys.modules[name] = types.ModuleType(name)

def torch_function(name):
    def f(*args): raise NotImplementedError
    f.__module__, f.__qualname__, f.__name__ = "torch._utils", name, name
    setattr(sys.modules["torch._utils"], name, f)
    return f

rebuild_tensor, rebuild_parameter = torch_function("_rebuild_tensor_v2"), torch_function("_rebuild_parameter")

def storage_class(name):
    c = type(name, (), {"__module__": "torch"})
    setattr(sys.modules["torch"], name, c)
    return c

Float, Half, BFloat16, Double, Long = map(storage_class, ("FloatStorage", "HalfStorage", "BFloat16Storage", "DoubleStorage", "LongStorage"))

class Storage:
    def __init__(self, cls, code, values):
        self.cls, self.count = cls, len(values)
        self.raw = b"".join(struct.pack("<f", v)[2:] for v in values) if code == "bf16" else struct.pack(f"<{len(values)}{code}", *values)

class Tensor:
    def __init__(self, storage, offset, shape, stride): self.args = storage, offset, shape, stride, False, collections.OrderedDict()
    def __reduce__(self): return rebuild_tensor, self.args

class Parameter:
    def __init__(self, tensor): self.tensor = tensor
    def __reduce__(self): return rebuild_parameter, (self.tensor, True, collections.OrderedDict())

def state_dict():
    shared = Storage(Float, "f", [k / 4 for k in range(12)])
    state = collections.OrderedDict()
    state["whole"] = Tensor(shared, 0, (3, 4), (4, 1))
    state["transposed"] = Tensor(shared, 0, (4, 3), (1, 4))
    state["column"] = Tensor(shared, 2, (3,), (4,))
    state["parameter"] = Parameter(Tensor(shared, 8, (1, 4), (99, 1)))
    state["half"] = Tensor(Storage(Half, "e", [-1.5, 2 ** -24, 65504.0]), 0, (3,), (1,))
    state["bfloat"] = Tensor(Storage(BFloat16, "bf16", [1.0, -3.5]), 0, (2, 1, 1), (1, 1, 1))
    state["double"] = Tensor(Storage(Double, "d", [0.1]), 0, (), ())
    state["long"] = Tensor(Storage(Long, "q", [-(2 ** 40), 7]), 0, (2,), (1,))
    state["empty"] = Tensor(Storage(Float, "f", []), 0, (0, 5), (5, 1))
    state.update(rate=0.5, epoch=3, big=2 ** 100, negative=-(2 ** 40), tags=["a", ("b", None)], flag=True)
    state._metadata = collections.OrderedDict(version=1)   # as torch.nn.Module.state_dict leaves it
    return state

def dump(value, protocol, legacy, storages):
    class Pickler(pickle.Pickler):
        def persistent_id(self, v):
            if isinstance(v, Storage):
                key = storages.setdefault(id(v), (str(len(storages)), v))[0]
                return ("storage", v.cls, key, "cpu", v.count) + ((None,) if legacy else ())
    out = io.BytesIO(); Pickler(out, protocol).dump(value)
    return out.getvalue()

for protocol in (2, 3, 4, 5):
    state, storages = state_dict(), {}
    body = dump({"epoch": 7, "state_dict": state} if protocol == 3 else state, protocol, False, storages)
    with zipfile.ZipFile(f"zip{protocol}.pt", "w") as z:
        entries = {"data.pkl": body, **{f"data/{key}": s.raw for key, s in storages.values()}, "version": b"3\n"}
        if protocol > 2: entries["byteorder"] = b"little"
        for name, raw in entries.items(): z.writestr(zipfile.ZipInfo("archive/" + name), raw)
    if protocol in (2, 4):
        storages = {}
        body = dump(state, protocol, True, storages)
        keys = sorted(key for key, _ in storages.values()); by_key = dict(storages.values())
        with open(f"legacy{protocol}.pt", "wb") as out:
            for v in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}): out.write(pickle.dumps(v, protocol))
            out.write(body + pickle.dumps(keys, protocol))
            for key in keys: out.write(struct.pack("<q", by_key[key].count) + by_key[key].raw)

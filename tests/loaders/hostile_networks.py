"""Hostile network files: every pickle in them is well formed, and what it describes is not a network."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.loaders import emitter, stylegan_writer, writers
from tests.loaders.emitter import Call, Global, New, Raw, dumps, opcodes
from tests.loaders.hostile_case import Hostile
from tests.loaders.writers import Arrays, golden

PERSISTENT = Global("torch_utils.persistence", "_reconstruct_persistent_obj")
NETWORK = Global("dnnlib.tflib.network", "Network")


def cases(sentinel: Path) -> Iterator[Hostile]:
    """Yield every network that must be refused."""
    yield from lies(sentinel)
    yield from wrong_tensors()
    yield from modules(sentinel)
    yield from loops()
    yield from tops()
    yield from tensorflow()


def lies(sentinel: Path) -> Iterator[Hostile]:
    """Settings that say something else than the tensors."""
    payload = f"open({str(sentinel)!r}, 'w').close()"
    yield Hostile("lie: resolution", writers.ada(kwargs={"img_resolution": 1 << 20}), "img_resolution")
    for key, lie in {"num_layers": 10**6, "z_dim": 1 << 30, "w_dim": 3, "c_dim": 9, "img_channels": 4}.items():
        yield Hostile(f"lie: {key}", writers.ada(kwargs={key: lie}), key)
    for key, lie in {"channel_base": 1 << 40, "channel_max": 0, "architecture": "orig"}.items():
        content = writers.ada(kwargs={"synthesis_kwargs": {key: lie}})
        yield Hostile(f"lie: {key}", content, "its settings say")
    for key, lie in {"resolution": 1 << 20, "mapping_layers": 10**6, "fmap_base": 1 << 30, "latent_size": 5}.items():
        yield Hostile(f"lie in TensorFlow: {key}", writers.tf(kwargs={key: lie}), "its settings say")
    yield Hostile("lie about the labels", writers.tf(d_kwargs={"label_size": 7}), "disagree about the number of labels")
    for odd in ("nonlinearity", "resample_kernel", "conv_clamp", "mapping_lrmul"):
        value: Any = {"nonlinearity": payload, "resample_kernel": ["a"], "conv_clamp": "b", "mapping_lrmul": [1]}[odd]
        yield Hostile(f"odd {odd}", writers.tf(kwargs={odd: value}), "unsupported")
    yield Hostile("no normalisation", writers.tf(kwargs={"normalize_latents": False}), "does not normalise")
    for version in (1, 6, 99, -1, True, "4"):
        yield Hostile(f"TensorFlow version {version}", writers.tf(version=version), "version")
    yield from first_stylegan()


def wrong_tensors() -> Iterator[Hostile]:
    """One tensor of a good network transposed, missing, added or spoilt."""
    yield from changed(
        "transposed", "'synthesis.b32.conv0.weight' has shape \\(16, 8, 3, 3\\).*needs \\(8, 16", transpose
    )
    yield from changed("transposed dense", "'mapping.fc0.weight' has shape \\(16, 24\\)", transpose_dense)
    yield from changed("missing", "lacks 'synthesis.b16.conv1.bias'", drop("synthesis.b16.conv1.bias"))
    yield from changed(
        "missing affine", "lacks 'synthesis.b8.conv0.affine.weight'", drop("synthesis.b8.conv0.affine.weight")
    )
    yield from changed(
        "missing noise", "lacks 'synthesis.b8.conv0.noise_const'", drop("synthesis.b8.conv0.noise_const")
    )
    yield from changed("missing layer", "lacks 'mapping.fc1", drop("mapping.fc1.weight", "mapping.fc1.bias"))
    yield from changed(
        "extra", "holds 'synthesis.b8.conv1.extra'", put("synthesis.b8.conv1.extra", np.zeros(2, np.float32))
    )
    for word, number in (("NaN", np.nan), ("infinity", np.inf), ("minus infinity", -np.inf)):
        spoilt = np.full([24], number, np.float32)
        yield from changed(
            word, "'mapping.fc2.bias' holds numbers that are not finite", put("mapping.fc2.bias", spoilt)
        )
    large = np.full([24], 1e300)
    yield from changed("double overflow", "not finite", put("mapping.fc2.bias", large))
    yield from changed("integers", "'mapping.fc2.bias' holds int64", put("mapping.fc2.bias", np.zeros(24, np.int64)))
    odd_filter = np.arange(16, dtype=np.float32).reshape(4, 4)
    yield from changed("filter", "not an outer product", put("synthesis.b8.conv0.resample_filter", odd_filter))
    flat = np.ones([2, 2], np.float32) / 4
    yield from changed("two filters", "differs from that of other layers", put("synthesis.b8.resample_filter", flat))
    yield from changed(
        "block of 12 px", "its blocks are for", put("synthesis.b12.const", np.zeros([2, 4, 4], np.float32))
    )
    huge = put("synthesis.b65536.const", np.zeros([2, 4, 4], np.float32))
    yield from changed("block of 65536 px", "its blocks are for", huge)


def changed(name: str, says: str, change: Callable[[Arrays], None]) -> Iterator[Hostile]:
    """Yield a PyTorch file with one tensor of the generator changed."""

    def generator_only(generator: Arrays, _: Arrays) -> None:
        change(generator)

    yield Hostile(f"tensor {name}", writers.ada(change=generator_only), says)


def transpose(generator: Arrays) -> None:
    generator["synthesis.b32.conv0.weight"] = generator["synthesis.b32.conv0.weight"].transpose(1, 0, 2, 3)


def transpose_dense(generator: Arrays) -> None:
    generator["mapping.fc0.weight"] = generator["mapping.fc0.weight"].T


def drop(*names: str) -> Callable[[Arrays], None]:
    def change(generator: Arrays) -> None:
        for name in names:
            del generator[name]

    return change


def put(name: str, value: np.ndarray) -> Callable[[Arrays], None]:
    def change(generator: Arrays) -> None:
        generator[name] = value

    return change


def modules(sentinel: Path) -> Iterator[Hostile]:
    """Modules of unknown classes, or that are none."""
    payload = f"open({str(sentinel)!r}, 'w').close()"
    generator, _, _, config = golden("skip_resnet")

    def tensor(_: str, value: np.ndarray) -> Call:
        return emitter.tensor(value)

    good = dumps({"G_ema": writers.ada_module(generator, config, "Generator", tensor, {})}, 3)
    for name in ("ToRGBLayer", "MappingNetwork", "Generator"):
        content = good.replace(emitter.text(name), emitter.text("os.system"))
        yield Hostile(f"class os.system for {name}", content, r"class 'os\.system'")
    content = good.replace(emitter.text(writers.SOURCE), emitter.text(payload))
    content = content.replace(emitter.text("ToRGBLayer"), emitter.text("X"))
    yield Hostile("module source", content, "class 'X'")
    for meta in (5, {}, {"type": "module"}, {"type": "class", "class_name": 5, "state": {}}, {"type": "class"}):
        yield Hostile(
            f"persistent object {meta}", dumps({"G_ema": Call(PERSISTENT, (meta,))}, 3), "a persistent object"
        )
    parts = {"_parameters": {}, "_buffers": {}, "_modules": {}}
    for state in ({}, {"_parameters": 5}, {**parts, "_parameters": {5: 5}}, {**parts, "_modules": {"a": 1}}):
        meta = {"type": "class", "class_name": "Generator", "state": state}
        says = "listed by name|not one of|lacks the mapping"
        yield Hostile(f"state {state}", dumps({"G_ema": Call(PERSISTENT, (meta,))}, 3), says)


def loops() -> Iterator[Hostile]:
    """A module that is its own part: its list of parts is put into the memo before the module is made."""
    head = {"type": "class", "class_name": "Generator"}
    made = opcodes(PERSISTENT, 3) + b"}(" + emitter.pairs(head, 3) + opcodes("state") + b"}(" + opcodes("_parameters")
    made += b"}" + opcodes("_buffers") + b"}" + opcodes("_modules") + b"}q\0uu\x85Rq\1"
    inside = b"h\0" + opcodes("a") + b"h\1s"
    top = b"\x80\x03}" + opcodes("G_ema") + made + b"s" + opcodes("x") + inside + b"s."
    yield Hostile("module within itself", top, "is shared, or modules are nested")


def tops() -> Iterator[Hostile]:
    """Pickles of something else."""
    for top in ([], (), 5, "text", None, {}, {"G": None}, {"G_ema": 5}, (1, 2, 3), {"a": {"b": {}}}):
        yield Hostile(f"a pickle of {top}", dumps(top, 3), "not a StyleGAN network")


def tensorflow() -> Iterator[Hostile]:
    """TensorFlow networks without what they should have."""
    empty = New(NETWORK)
    yield Hostile("networks without state", dumps((empty, empty, empty), 3), "without its state")
    for state in ({}, {"version": 4}, {"version": 4, "components": 5, "static_kwargs": {}, "variables": []}):
        same = New(NETWORK, state=state)
        yield Hostile(f"networks of {state}", dumps((same, same, same), 3), "version|without")
    array = emitter.array(np.zeros([2], np.float32))
    says = "variable|twice|holds|not a tensor"
    for variables in (5, [5], [("a", 5)], [(5, array)], [("lod", array), ("lod", array)], [("x/y", array)]):
        yield Hostile(f"variables {str(variables)[:30]}", networks_of(variables), says)
    # a hundred names for one large array
    big = opcodes(emitter.array(np.zeros([1 << 16], np.float32)), 3)
    names = [("Dense0/weight", Raw(big + b"q\x00")), *((f"Dense{i}/weight", Raw(b"h\x00")) for i in range(1, 100))]
    yield Hostile("one array, many names", networks_of(names), "larger than the file")


def networks_of(variables: Any) -> bytes:
    """Return a file whose mapping network has these variables."""
    state = {"version": 4, "components": {}, "static_kwargs": {}, "variables": []}
    parts = {"mapping": New(NETWORK, state={**state, "variables": variables}), "synthesis": New(NETWORK, state=state)}
    other = New(NETWORK, state=state)
    return dumps((other, other, New(NETWORK, state={**state, "components": parts})), 3)


def first_stylegan() -> Iterator[Hostile]:
    """Files of the first StyleGAN with one variable or setting spoilt."""
    made, drop, put = stylegan_writer.stylegan, stylegan_writer.drop, stylegan_writer.put
    for part, name, says in (
        ("synthesis", "16x16/Conv1/weight", r"lacks 'synthesis\.b16\.conv1\.weight'"),
        ("synthesis", "4x4/Const/const", r"lacks 'synthesis\.b4\.const'"),
        ("synthesis", "noise0", r"lacks 'synthesis\.b4\.input\.noise_const'"),
        ("synthesis", "8x8/Conv1/Noise/weight", r"lacks 'synthesis\.b8\.conv1\.noise_strength'"),
        ("synthesis", "ToRGB_lod1/weight", r"lacks 'synthesis\.b16\.torgb\.weight'"),
        ("synthesis", "ToRGB_lod0/bias", r"lacks 'synthesis\.b32\.torgb\.bias'"),
        ("synthesis", "4x4/Const/bias", "version 3 that is no StyleGAN"),
        ("mapping", "Dense1/weight", r"lacks 'mapping\.fc1\.weight'"),
        ("D", "4x4/Dense1/bias", r"lacks 'b4\.out\.bias'"),
        ("D", "FromRGB_lod2/weight", r"lacks 'b8\.fromrgb\.weight'"),
    ):
        yield Hostile(f"StyleGAN without {part}/{name}", made(drop(part, name)), says)
    for part, name, shape, says in (
        ("synthesis", "32x32/Conv0_up/weight", [3, 3, 2, 2], "Conv0_up/weight' has shape"),
        ("synthesis", "8x8/Conv1/StyleMod/weight", [24, 7], "StyleMod/weight' has shape"),
        ("synthesis", "8x8/Conv1/Noise/weight", [], "Noise/weight' has shape"),
        ("synthesis", "noise3", [1, 1, 8, 4], "noise3' has shape"),
        ("synthesis", "noise3", [2, 1, 8, 8], "noise3' has the unexpected shape"),
        ("synthesis", "noise40", [1, 1, 8, 8], "noise40', which its architecture does not have"),
        ("synthesis", "ToRGB_lod9/weight", [1, 1, 4, 3], "its blocks are for"),
        ("synthesis", "4x4/Conv0_up/weight", [3, 3, 4, 4], "Conv0_up/weight', which StyleGAN does not have"),
        ("synthesis", "8x8/Conv1/mod_weight", [24, 4], "mod_weight', which StyleGAN does not have"),
        ("", "other", [2], "other', which StyleGAN does not have"),
        ("D", "Output/weight", [4, 1], "Output/weight', which StyleGAN does not have"),
        ("D", "4x4/Dense0/weight", [3, 4], "Dense0/weight' has shape"),
    ):
        content = made(put(part, name, np.zeros(shape, np.float32)))
        yield Hostile(f"StyleGAN with {part}/{name} of {shape}", content, says)
    for kwargs, says in (
        ({"fused_scale": "sometimes"}, "'fused_scale' is not"),
        ({"fused_scale": [1]}, "'fused_scale' is not"),
        ({"blur_filter": "soft"}, "'blur_filter' is not"),
        ({"blur_filter": [1.0, -1.0]}, "blur_filter sums to zero"),
        ({"use_wscale": False}, "'use_wscale'"),
        ({"use_pixel_norm": True}, "normalise over images and over pixels"),
        ({"use_instance_norm": "no"}, "normalise over images and over pixels"),
        ({"nonlinearity": "swish"}, "activation 'swish' is not"),
        ({"normalize_latents": False}, "does not normalise"),
        ({"use_styles": False}, "its settings say use_styles"),
        ({"use_noise": False}, "its settings say use_noise"),
        ({"resolution": 64}, "its settings say img_resolution"),
        ({"dlatent_size": 3}, "its settings say w_dim"),
        ({"mapping_layers": 9}, "its settings say num_layers"),
    ):
        yield Hostile(f"StyleGAN with {kwargs}", made(kwargs=kwargs), says)
    yield Hostile("StyleGAN with labels that are none", made(d_kwargs={"label_size": 4}), "Dense1/|c_dim|has shape")
    yield Hostile("StyleGAN with odd groups", made(d_kwargs={"mbstd_group_size": 2.5}), "sizes are not integers")
    yield Hostile("StyleGAN of version 5 without inputs", made(drop("synthesis", "4x4/Const/bias"), version=5), "holds")

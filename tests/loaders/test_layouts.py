"""The same generator in the files of many repositories is the same network, and what was chosen or left out is said."""

import argparse
import datetime
import pathlib
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from generator.errors import NetworkFileError
from generator.files.reading import Inspection, inspect, load
from tests.loaders import emitter, layouts, writers
from tests.loaders.emitter import Call, Global, New
from tests.loaders.layouts import prefixed
from tests.loaders.writers import golden


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    """The tensors that every layout must give."""
    return {name: value for name, value in layouts.square().items() if not name.endswith("resample_filter")}


def read(folder: Path, content: Any) -> Inspection:
    path = folder / "network.pt"
    torch.save(content, path)
    return inspect(path)


def written(folder: Path, content: bytes) -> Inspection:
    path = folder / "network.pkl"
    path.write_bytes(content)
    return inspect(path)


def check(found: Inspection, expected: dict[str, np.ndarray], *but: str) -> None:
    """Compare tensors with the golden ones, but for those whose name ends so."""
    state = found.state.generator_state
    wanted = {name for name in expected if not name.endswith(but or ("nothing",))}
    assert wanted <= state.keys()
    for name in wanted:
        np.testing.assert_allclose(state[name], expected[name], rtol=0, atol=1e-6, err_msg=name)


MEAN = "the file has no mean latent; it is the mean of 10000 latents mapped with a fixed seed"
AVERAGE = layouts.average()
G = layouts.rosinality

# What a file holds, whether its mean of w is there, and what must be said.
CASES: dict[str, tuple[Callable[[], Any], bool, list[str]]] = {
    "rosinality": (lambda: {"g_ema": G(), "latent_avg": AVERAGE}, True, []),
    "only g": (lambda: {"g": G()}, False, ["the file has no averaged generator; 'g' is used", MEAN]),
    "g beside g_ema": (lambda: {"g": prefixed("x.", G()), "g_ema": G(), "latent_avg": AVERAGE}, True, []),
    "bare state": (lambda: OrderedDict(G()), False, [MEAN]),
    "module. prefix": (lambda: {"g_ema": prefixed("module.", G()), "latent_avg": AVERAGE}, True, []),
    "latent_avg [1, w]": (lambda: {"g_ema": G(), "latent_avg": AVERAGE[None]}, True, []),
    "latent_avg [8, w]": (lambda: {"g_ema": G(), "latent_avg": AVERAGE.repeat(8, 1)}, True, []),
    "latent_avg differs": (
        lambda: {"g_ema": G(), "latent_avg": torch.randn(8, 24)},
        False,
        ["the rows of 'latent_avg' differ from layer to layer: it is not used", MEAN],
    ),
    "pSp": (
        lambda: {
            "state_dict": {**prefixed("decoder.", G()), **prefixed("encoder.", {"a.weight": AVERAGE})},
            "latent_avg": AVERAGE.repeat(8, 1),
            "opts": {"output_size": 32, "path": pathlib.PurePosixPath("/data/x")},
        },
        True,
        [
            "the file is of an encoder: its 'state_dict.decoder' is the generator; "
            "left out: 'state_dict.encoder' (1 tensors)"
        ],
    ),
    "GANInverter": (
        lambda: {"encoder": {"a.weight": AVERAGE}, "decoder": G(), "latent_avg": AVERAGE},
        True,
        ["the file is of an encoder: its 'decoder' is the generator; left out: 'encoder' (1 tensors)"],
    ),
    "under another name": (
        lambda: {"style": G(), "latent_avg": AVERAGE},
        True,
        ["the generator is the file's entry 'style'"],
    ),
    "two of them": (
        lambda: {"a": G(), "b": G(), "latent_avg": AVERAGE},
        True,
        ["the generator is the file's entry 'a'", "the file holds other generators too ('b'); 'a' is used"],
    ),
    "another discriminator": (
        lambda: {"g_ema": G(), "latent_avg": AVERAGE, "d": {"convs.0.0.weight": AVERAGE, "new_conv.0.weight": AVERAGE}},
        True,
        [
            "the discriminator is of another kind and was left out: 'd' holds 'new_conv.0.weight', "
            "which rosinality's StyleGAN2 does not have"
        ],
    ),
    "ADA state": (
        layouts.ada,
        True,
        ["a state dictionary does not tell clamp and activation: no clamp and lrelu are taken"],
    ),
    "MMGeneration": (
        lambda: {
            "meta": {"epoch": 1},
            "state_dict": {
                **prefixed("generator_ema.", layouts.mmgeneration()),
                **prefixed("generator.", layouts.mmgeneration(is_rgb=True)),
            },
        },
        False,
        ["its images are in the order blue, green, red, as that code makes them: they were turned to RGB", MEAN],
    ),
    "MMGeneration's first files": (
        lambda: {"state_dict": prefixed("generator_ema.", layouts.mmgeneration(is_old=True))},
        False,
        ["its images are in the order blue, green, red, as that code makes them: they were turned to RGB", MEAN],
    ),
    "MMagic, converted from published weights": (
        lambda: {
            "meta": {"config": "model = dict(generator=dict(rgb2bgr=True))"},
            "state_dict": {
                **prefixed("generator_ema.module.", layouts.mmgeneration(is_rgb=True)),
                "generator_ema.steps": torch.tensor(5),
            },
        },
        False,
        ["its settings say 'rgb2bgr': the network's own images are RGB already", MEAN],
    ),
    "genforce": (lambda: {"generator_smooth": layouts.numbered(is_hammer=False), "generator": {}}, True, []),
    "Hammer": (
        lambda: {"models": {"generator_smooth": layouts.numbered(is_hammer=True), "discriminator": {"a.b": AVERAGE}}},
        True,
        ["its discriminator is left out"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_layout(name: str, tmp_path: Path, expected: dict[str, np.ndarray]) -> None:
    content, has_average, said = CASES[name]
    found = read(tmp_path, content())
    check(found, expected, *(() if has_average else ("w_avg",)))
    assert ("mapping.w_avg" in found.state.generator_state) == has_average
    assert found.state.warnings == said


@pytest.mark.parametrize("name", ["rosinality", "Hammer", "MMGeneration", "ADA state"])
def test_the_network_is_built_and_gives_the_golden_images(name: str, tmp_path: Path) -> None:
    read(tmp_path, CASES[name][0]())
    network = load(tmp_path / "network.pt").generator
    _, _, arrays, _ = golden("skip_resnet")
    ws, image = torch.from_numpy(arrays["ws"]), torch.from_numpy(arrays["img_noise_const"])
    with torch.no_grad():
        torch.testing.assert_close(network.synthesis(ws, "const"), image, atol=1e-4, rtol=0)
    assert network.mapping.w_avg.abs().max() > 0


def test_noise_maps_that_were_never_saved(tmp_path: Path, expected: dict[str, np.ndarray]) -> None:
    state = {name: value for name, value in G().items() if not name.startswith("noises.")}
    found = read(tmp_path, {"g_ema": state, "latent_avg": AVERAGE})
    check(found, expected, "noise_const")
    assert found.state.warnings == ["the file has no noise maps; they are drawn with a fixed seed"]
    maps = {name: value for name, value in found.state.generator_state.items() if name.endswith("noise_const")}
    assert len(maps) == 7
    assert abs(np.concatenate([value.reshape(-1) for value in maps.values()]).std() - 1) < 0.05
    assert read(tmp_path, {"g_ema": state, "latent_avg": AVERAGE}).weights_sha256 == found.weights_sha256
    state["noises.noise_0"] = G()["noises.noise_0"]
    with pytest.raises(NetworkFileError, match=r"lacks 'synthesis\.b8\.conv0\.noise_const'"):
        read(tmp_path, {"g_ema": state})


def test_a_whole_module_of_rosinality(tmp_path: Path, expected: dict[str, np.ndarray]) -> None:
    """What `torch.save(g_ema)` writes: objects of classes that need not be installed, and never are looked for."""

    def module(state: dict[str, np.ndarray], name: str) -> New:
        own = {key: emitter.tensor(value) for key, value in state.items() if "." not in key}
        firsts = dict.fromkeys(key.split(".")[0] for key in state if "." in key)
        parts = {
            first: module(
                {key[len(first) + 1 :]: value for key, value in state.items() if key.startswith(f"{first}.")}, "Part"
            )
            for first in firsts
        }
        values = {"training": False, "_parameters": own, "_buffers": {}, "_modules": parts, "size": 32}
        return New(Global("model", name), state=values)

    arrays = {name: value.numpy() for name, value in G().items()}
    found = written(tmp_path, emitter.dumps(module(arrays, "Generator"), 3))
    check(found, expected, "w_avg")
    assert "model.Generator" in found.state.globals_asked
    assert not found.state.embeds_source


def pickled_ada(protocol: int = 3, **others: Any) -> Any:
    generator, _, _, config = golden("skip_resnet")
    module = writers.ada_module(generator, config, "Generator", lambda _, value: emitter.tensor(value), {})
    return emitter.dumps({"G_ema": module, **others} if others else module, protocol)


def test_one_module_of_the_pytorch_code(tmp_path: Path) -> None:
    found = written(tmp_path, pickled_ada())
    assert found.weights_sha256 == written(tmp_path, writers.ada()).weights_sha256
    assert found.state.embeds_source
    assert found.state.warnings == []


BESIDE = {
    "path": (Call(Global("pathlib", "PosixPath"), ("/", "data", "x.zip")), "/data/x.zip"),
    "date": (Call(Global("datetime", "datetime"), (b"\x07\xe5\x01\x01\x00\x00\x00\x00\x00\x00",)), "datetime.datetime"),
    "defaults": (Call(Global("collections", "defaultdict"), (Global("builtins", "list"),)), "{}"),
    "namespace": (Call(Global("types", "SimpleNamespace"), (), {"size": 3}), "{'size': 3}"),
    "easydict": (New(Global("easydict", "EasyDict"), {"size": 3}, {"size": 3}), "{'size': 3}"),
    "somebody's": (New(Global("munch", "Munch"), {"size": 3}), "munch.Munch"),
}


@pytest.mark.parametrize("name", BESIDE)
def test_harmless_things_beside_a_network(name: str, tmp_path: Path) -> None:
    value, shown = BESIDE[name]
    found = written(tmp_path, pickled_ada(training_set_kwargs={"thing": value}))
    assert shown in str(found.state.settings["training_set_kwargs"]["thing"])
    # where the generator needs it, it is refused
    with pytest.raises(NetworkFileError, match=r"not a tensor|listed by name|not one of|not a dictionary"):
        written(tmp_path, emitter.dumps({"g_ema": {"input.input": value}}))


def test_settings_that_real_python_pickles(tmp_path: Path) -> None:
    args = argparse.Namespace(path=Path("data"), day=datetime.date(2021, 1, 1), more=types.SimpleNamespace(a=1))
    stats = defaultdict(list, {"a": [1]})
    found = read(tmp_path, {"g_ema": G(), "latent_avg": AVERAGE, "args": args, "stats": stats})
    assert found.state.settings["args"]["path"] == "data"
    assert found.state.settings["args"]["more"] == {"a": 1}


def test_a_discriminator_of_another_class(tmp_path: Path) -> None:
    state = {"training": True, "_parameters": {}, "_buffers": {}, "_modules": {}}
    other = New(Global("pg_modules.discriminator", "ProjectedDiscriminator"), state=state)
    found = written(tmp_path, pickled_ada(D=other))
    assert found.state.discriminator_config is None
    assert "'ProjectedDiscriminator' where a Discriminator should be" in found.state.warnings[0]


def test_tensorflow_networks_that_are_not_there(tmp_path: Path) -> None:
    whole = written(tmp_path, writers.tf())
    generator = writers.tf_parts()[0]
    for content, said in (
        (generator, []),
        ((generator, None, generator), []),
        ((generator, None, None), ["the file has no averaged generator 'Gs'; 'G' is used"]),
    ):
        found = written(tmp_path, emitter.dumps(content))
        assert found.weights_sha256 == whole.weights_sha256
        assert found.state.discriminator_config is None
        assert found.state.warnings == said
    with pytest.raises(NetworkFileError, match="a discriminator but no generator"):
        written(tmp_path, emitter.dumps(writers.tf_parts()[1]))


def test_a_mean_that_was_never_saved(tmp_path: Path) -> None:
    """Of a conditional network it is the mean over all classes."""

    def forget(generator: dict[str, np.ndarray], _: object) -> None:
        del generator["mapping.w_avg"]

    (tmp_path / "network").write_bytes(writers.ada("conditional", change=forget))
    network = load(tmp_path / "network")
    assert network.provenance.warnings == [MEAN]
    assert network.generator.mapping.w_avg.abs().max() > 0


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_safetensors_of_other_programs(kind: torch.dtype, tmp_path: Path, expected: dict[str, np.ndarray]) -> None:
    path = tmp_path / "network.safetensors"
    save_file({name: value.to(kind).contiguous() for name, value in prefixed("g_ema.", G()).items()}, path)
    found = inspect(path)
    assert found.state.family == "rosinality"
    if kind == torch.float32:
        check(found, expected, "w_avg")
    else:
        assert found.state.warnings[0].endswith("were converted to float32")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (layouts.lucidrains, "lucidrains' stylegan2-pytorch"),
        (lambda: torch.zeros(1, 18, 512), r"array of shape \(1, 18, 512\): a latent"),
        (lambda: {"latent": torch.zeros(1, 18, 512)}, r"latents \(latent\), not a network"),
        (lambda: {"encoder": {"a.weight": AVERAGE}}, "an encoder for StyleGAN"),
        (lambda: {"synthesis.L0_36_512.weight": AVERAGE, "mapping.fc0.bias": AVERAGE}, "a StyleGAN3"),
    ],
)
def test_what_is_no_network_of_ours_is_named(content: Callable[[], Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(NetworkFileError, match=says):
        read(tmp_path, content())


def test_a_projected_latent_is_named(tmp_path: Path) -> None:
    path = tmp_path / "projected_w.npz"
    np.savez(path, w=np.zeros([1, 18, 512], np.float32))
    with pytest.raises(NetworkFileError, match=r"numpy arrays \(w\): a latent, if anything, and not a network"):
        inspect(path)


@pytest.mark.parametrize("name", ["TriPlaneGenerator", "SuperresGenerator"])
def test_larger_relatives_are_named(name: str, tmp_path: Path) -> None:
    content = pickled_ada(step=1).replace(emitter.text("Generator"), emitter.text(name))
    with pytest.raises(NetworkFileError, match=r"this is (EG3D|StyleGAN-XL)"):
        written(tmp_path, content)

"""Golden networks rewritten as each family writes them: architectures, labels, old and new containers."""

import argparse
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generator.errors import NetworkFileError
from generator.files.reading import LoadedNetwork, inspect, load
from tests.loaders import emitter, writers
from tests.loaders.writers import Arrays, golden

NETWORKS = ("skip_resnet", "resnet_skip", "orig_orig", "conditional")
TOLERANCE = 1e-4


def written(folder: Path, content: bytes) -> Path:
    path = folder / "network"
    path.write_bytes(content)
    return path


@torch.no_grad()
def check_images(network: LoadedNetwork, name: str, tolerance: float = TOLERANCE) -> None:
    """Compare images and logits with the golden ones."""
    _, _, arrays, _ = golden(name)
    expected = {key: torch.from_numpy(value) for key, value in arrays.items()}
    ws = network.generator.mapping_ws(expected["z"], expected.get("c"))
    image = network.generator.synthesis(ws, "const")
    scale = expected["img_noise_const"].abs().max()
    assert (image - expected["img_noise_const"]).abs().max() < tolerance * scale
    assert network.discriminator is not None
    logits = network.discriminator(expected["img_noise_const"], expected.get("c"))
    assert (logits - expected["logits"]).abs().max() < tolerance * expected["logits"].abs().max()


@pytest.mark.parametrize(("name", "protocol"), [*((name, 3) for name in NETWORKS), (NETWORKS[0], 2), (NETWORKS[0], 4)])
def test_ada(tmp_path: Path, name: str, protocol: int) -> None:
    path = written(tmp_path, writers.ada(name, protocol))
    check_images(load(path), name)
    assert inspect(path).state.embeds_source


@pytest.mark.parametrize("name", NETWORKS)
def test_tensorflow(tmp_path: Path, name: str) -> None:
    version = 5 if name == "conditional" else 4
    # the golden network's discriminator maps labels with the PyTorch code's multiplier
    settings = {"mapping_lrmul": 0.01}
    path = written(tmp_path, writers.tf(name, version, d_kwargs=settings))
    network = load(path)
    check_images(network, name)
    assert network.provenance.family == "stylegan2-tensorflow"


def test_tensorflow_configurations_b_to_d(tmp_path: Path) -> None:
    """Before "skip" and "resnet": one colour layer per resolution, only the last of them in use."""

    def grow(variables: Arrays) -> Arrays:
        made = {"lod": np.zeros([], np.float32)}
        for key, value in variables.items():
            for layer in ("ToRGB", "FromRGB"):
                if f"32x32/{layer}/" in key:
                    kind = key.rsplit("/", 1)[-1]
                    made |= {f"{layer}_lod0/{kind}": value, f"{layer}_lod1/{kind}": value * 0}
                    break
            else:
                made[key] = value
        return made

    check_images(load(written(tmp_path, writers.tf("orig_orig", rename=grow))), "orig_orig")


def dense(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """One mapping layer with the multiplier 0.01, by its definition."""
    y = x @ weight.T * (0.01 / np.sqrt(x.shape[1])) + bias * 0.01
    return np.where(y > 0, y, 0.2 * y) * np.sqrt(2)


def test_tensorflow_labels_concatenated_and_selected(tmp_path: Path) -> None:
    """StyleGAN2's own labels: a matrix beside z in the mapping network, one output per class in the discriminator."""
    random = np.random.default_rng(0)
    matrix = random.standard_normal([3, 16]).astype(np.float32)
    widened = random.standard_normal([24, 32]).astype(np.float32) * 100
    outputs = random.standard_normal([3, 16]).astype(np.float32)

    def label(generator: Arrays, discriminator: Arrays) -> None:
        generator |= {"mapping.label_matrix": matrix, "mapping.fc0.weight": widened}
        discriminator |= {"b4.out.weight": outputs, "b4.out.bias": np.arange(3, dtype=np.float32)}

    labels = {"label_size": 3}
    network = load(written(tmp_path, writers.tf(change=label, kwargs=labels, d_kwargs=labels)))
    generator, _, arrays, _ = golden("skip_resnet")
    z, classes = arrays["z"].astype(np.float64), np.eye(3)[[2, 0, 1, 2]]
    x = np.concatenate([z, classes @ matrix], axis=1)
    x /= np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-8)
    x = dense(x, widened, generator["mapping.fc0.bias"])
    for i in (1, 2):
        x = dense(x, generator[f"mapping.fc{i}.weight"], generator[f"mapping.fc{i}.bias"])
    c = torch.from_numpy(classes).float()
    with torch.no_grad():
        ws = network.generator.mapping_ws(torch.from_numpy(arrays["z"]), c)
        np.testing.assert_allclose(ws[:, 0].numpy(), x, rtol=1e-4, atol=1e-5)
        # each class's logit is that of a discriminator with this one output
        image = torch.from_numpy(arrays["img_noise_const"])
        assert network.discriminator is not None
        logits = network.discriminator(image, c)

        def only(k: int) -> Any:
            def change(_: Arrays, discriminator: Arrays) -> None:
                discriminator |= {"b4.out.weight": outputs[k : k + 1], "b4.out.bias": np.array([k], np.float32)}

            return change

        for row, k in enumerate((2, 0, 1, 2)):
            single = load(written(tmp_path, writers.tf(change=only(k)))).discriminator
            assert single is not None
            torch.testing.assert_close(logits[row], single(image)[row])


def test_tensorflow_ignores_what_does_not_matter(tmp_path: Path) -> None:
    odd = {"resolution_h": 32, "randomize_noise": True}
    network = load(written(tmp_path, writers.tf(kwargs=odd)))
    assert network.provenance.warnings == ["ignored the settings randomize_noise, resolution_h"]


def tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in arrays.items()}


def rosinality(training: bool) -> dict[str, Any]:
    """What convert_weight.py and train.py of that code save."""
    generator, discriminator, _, _ = golden("skip_resnet")
    # that code has one width for z and w
    generator["mapping.fc0.weight"] = np.resize(generator["mapping.fc0.weight"], [24, 24])
    made: dict[str, Any] = {
        "g_ema": tensors(writers.rosinality_generator(generator)),
        "d": tensors(writers.rosinality_discriminator(discriminator)),
    }
    if not training:
        return {**made, "latent_avg": torch.from_numpy(generator["mapping.w_avg"])}
    module = torch.nn.Linear(2, 2)
    optimiser = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    made["g"] = module.state_dict()  # carries _metadata
    made["g_optim"] = optimiser.state_dict()
    made["args"] = argparse.Namespace(path="data", size=32, lr=0.002, ckpt=None, betas=[0.0, 0.99])
    made["ada_aug_p"] = 0.0
    return made


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_rosinality(tmp_path: Path, zipped: bool, training: bool) -> None:
    path = tmp_path / "network.pt"
    torch.save(rosinality(training), path, _use_new_zipfile_serialization=zipped)
    network = load(path)
    _, _, arrays, _ = golden("skip_resnet")
    ws, image = torch.from_numpy(arrays["ws"]), torch.from_numpy(arrays["img_noise_const"])
    with torch.no_grad():
        torch.testing.assert_close(network.generator.synthesis(ws, "const"), image, atol=TOLERANCE, rtol=0)
        assert network.discriminator is not None
        group = network.discriminator.config.mbstd_group_size
        assert group == 4
        # the golden discriminator takes groups of two
        logits = torch.cat([network.discriminator(image[i::2]) for i in range(2)])[[0, 2, 1, 3]]
    torch.testing.assert_close(logits, torch.from_numpy(arrays["logits"]), atol=TOLERANCE, rtol=1e-4)
    average = network.generator.mapping.w_avg
    if training:
        assert network.provenance.settings["args"]["size"] == 32
        assert "mean of 10000 latents" in network.provenance.warnings[0]
        with torch.no_grad():
            sample = network.generator.mapping(torch.randn([20_000, 24], generator=torch.Generator().manual_seed(5)))
        assert (average - sample.mean(dim=0)).abs().max() < 5 * (sample.std(dim=0) * 1e-2).max()
        assert torch.equal(average, load(path).generator.mapping.w_avg)
    else:
        assert torch.equal(average, golden_average())


def golden_average() -> torch.Tensor:
    return torch.from_numpy(golden("skip_resnet")[0]["mapping.w_avg"])


def test_one_network_has_one_hash(tmp_path: Path) -> None:
    """The same generator from four kinds of file."""
    path = tmp_path / "network.pt"
    content = rosinality(training=False)
    torch.save(content, path)
    first = inspect(path).weights_sha256

    def square(generator: Arrays, _: Arrays) -> None:
        generator["mapping.fc0.weight"] = np.resize(generator["mapping.fc0.weight"], [24, 24])

    config = {"z_dim": 24}
    assert inspect(written(tmp_path, writers.ada(change=square, config=config))).weights_sha256 == first
    torch.save(content, path, _use_new_zipfile_serialization=False)
    assert inspect(path).weights_sha256 == first
    # TensorFlow stores the biases of styles without their one: equal up to rounding
    made = load(written(tmp_path, writers.tf(change=square, kwargs={"latent_size": 24}))).generator.state_dict()
    other = load(path).generator.state_dict()
    assert made.keys() == other.keys()
    assert all(torch.allclose(made[key], other[key], atol=1e-6) for key in made)


@pytest.mark.parametrize(("kind", "word"), [("<f2", "float16"), ("<f8", "float64"), ("bfloat16", "bfloat16")])
def test_other_number_types_are_converted(tmp_path: Path, kind: str, word: str) -> None:
    generator, _, _, _ = golden("skip_resnet")
    wanted = generator["synthesis.b8.conv0.weight"]

    def tensor(name: str, value: np.ndarray) -> emitter.Call:
        if name != "synthesis.b8.conv0.weight":
            return emitter.tensor(value)
        if kind == "bfloat16":
            return emitter.tensor((value.view(np.uint32) >> 16).astype("<u2"), "BFloat16Storage")
        return emitter.tensor(value.astype(kind))

    network = load(written(tmp_path, writers.ada(tensor=tensor)))
    found = network.generator.get_parameter("synthesis.b8.conv0.weight")
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-2 if kind == "bfloat16" else 1e-3, atol=1e-6)
    assert network.provenance.warnings == [f"1 {word} tensors were converted to float32"]


def test_permuted_strides_are_honoured(tmp_path: Path) -> None:
    """Mixed-precision networks keep their convolutions channels last."""

    def tensor(name: str, value: np.ndarray) -> emitter.Call:
        if value.ndim != 4:
            return emitter.tensor(value)
        last = np.ascontiguousarray(value.transpose(0, 2, 3, 1))
        _o, i, h, w = value.shape
        return emitter.tensor(last, shape=value.shape, stride=(i * h * w, 1, w * i, i))

    check_images(load(written(tmp_path, writers.ada(tensor=tensor))), "skip_resnet")


def test_clamp_and_filter_come_from_the_layers(tmp_path: Path) -> None:
    def resample(generator: Arrays, discriminator: Arrays) -> None:
        row = np.array([1, 4, 6, 4, 1], np.float32) / 16
        for arrays in (generator, discriminator):
            for key in arrays:
                if key.endswith("resample_filter"):
                    arrays[key] = np.outer(row, row)

    content = writers.ada(change=resample, config={"conv_clamp": 256.0})
    state = inspect(written(tmp_path, content)).state
    assert state.generator_config.synthesis.resample_filter == (1, 4, 6, 4, 1)
    assert state.generator_config.synthesis.conv_clamp == 256
    assert state.discriminator_config is not None
    assert state.discriminator_config.conv_clamp == 256


def test_a_network_without_noise(tmp_path: Path) -> None:
    def silence(generator: Arrays, _: Arrays) -> None:
        for key in [key for key in generator if "noise" in key]:
            del generator[key]

    network = load(written(tmp_path, writers.ada(change=silence)))
    assert not network.generator.config.synthesis.use_noise
    _, _, arrays, _ = golden("skip_resnet")
    with torch.no_grad():
        image = network.generator.synthesis(torch.from_numpy(arrays["ws"]), "const")
    torch.testing.assert_close(image, torch.from_numpy(arrays["img_noise_none"]), atol=TOLERANCE, rtol=0)


def test_settings_as_stylegan3_passes_them(tmp_path: Path) -> None:
    """Its constructor takes the synthesis network's settings beside its own."""
    settings = {"channel_base": 256, "channel_max": 16, "num_fp16_res": 4, "fused_modconv_default": "inference_only"}
    check_images(load(written(tmp_path, writers.ada(kwargs=settings))), "skip_resnet")
    with pytest.raises(NetworkFileError, match="settings disagree about 'channel_max'"):
        load(written(tmp_path, writers.ada(kwargs={**settings, "channel_max": 17})))


def test_generator_alone_and_not_averaged(tmp_path: Path) -> None:
    generator, _, _, config = golden("skip_resnet")
    module = writers.ada_module(generator, config, "Generator", lambda _, value: emitter.tensor(value), {})
    network = load(written(tmp_path, emitter.dumps({"G": module, "D": None}, 3)))
    assert network.discriminator is None
    assert "no averaged generator" in network.provenance.warnings[0]


def refused(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(NetworkFileError) as caught:
        inspect(written(tmp_path, content))
    return str(caught.value)


def test_a_stylegan3_input_on_other_layers_is_refused(tmp_path: Path) -> None:
    generator, _, _, config = golden("skip_resnet")
    generator["synthesis.input.weight"] = np.zeros([2, 2], np.float32)
    content = emitter.dumps(
        {"G_ema": writers.ada_module(generator, config, "Generator", lambda _, value: emitter.tensor(value), {})}, 3
    ).replace(emitter.text("FullyConnectedLayer"), emitter.text("SynthesisInput"))
    assert "unsupported: its layers are not L0, L1, L2" in refused(tmp_path, content)


def test_discriminator_alone_is_named(tmp_path: Path) -> None:
    _, discriminator, _, config = golden("skip_resnet")
    module = writers.ada_module(discriminator, config, "Discriminator", lambda _, value: emitter.tensor(value), {})
    assert "a discriminator but no generator" in refused(tmp_path, emitter.dumps({"D": module, "G_ema": None}, 3))


def test_other_torch_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    assert "the tensors of another model (weight, bias)" in refused(tmp_path, path.read_bytes())
    torch.save({"state_dict": {"encoder.a": torch.zeros(1), "decoder.b": torch.zeros(1)}, "opts": {}}, path)
    assert "an encoder for StyleGAN" in refused(tmp_path, path.read_bytes())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("data.pkl", "code/__torch__.py", "constants.pkl"):
            archive.writestr(f"model/{name}", b"import os")
    assert "TorchScript program" in refused(tmp_path, path.read_bytes())

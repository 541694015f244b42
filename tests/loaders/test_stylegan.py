"""Files of the first StyleGAN: the versions of its code, its settings, and what its images are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generator.errors import NetworkFileError
from generator.files.reading import LoadedNetwork, inspect, load
from generator.stylegan.config import StyleGANSynthesisConfig
from tests.golden_data import GOLDEN
from tests.loaders.stylegan_writer import Parts, drop, put, stylegan

TOLERANCE = 1e-4


def written(folder: Path, content: bytes) -> Path:
    path = folder / "network"
    path.write_bytes(content)
    return path


def expected() -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / "nvidia_tf_stylegan1.expect.npz", allow_pickle=False) as file:
        return {key: torch.from_numpy(value) for key, value in file.items()}


@torch.no_grad()
def check_images(network: LoadedNetwork) -> None:
    """Compare w, images and logits with the published code's."""
    golden, generator = expected(), network.generator
    ws = generator.mapping_ws(golden["z"])
    torch.testing.assert_close(ws, golden["w"][:, None].expand_as(ws), atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(generator.synthesis(ws, "const"), golden["img"], atol=TOLERANCE, rtol=0)
    truncated = generator(golden["z"], truncation_psi=0.7, truncation_cutoff=4)
    torch.testing.assert_close(truncated, golden["img_psi07_cutoff4"], atol=TOLERANCE, rtol=0)
    assert network.discriminator is not None
    logits = network.discriminator(golden["img"])
    torch.testing.assert_close(logits, golden["logits"], atol=TOLERANCE, rtol=TOLERANCE)


def test_images_of_the_published_code() -> None:
    network = load(GOLDEN / "nvidia_tf_stylegan1.pkl")
    check_images(network)
    assert network.provenance.family == "stylegan-tensorflow"
    assert network.provenance.warnings == []
    assert network.provenance.settings["Gs"]["truncation_psi"] == 0.7
    assert network.provenance.settings["Gs"]["truncation_cutoff"] == 8
    config = network.generator.config
    assert (config.mapping.z_dim, config.mapping.w_dim, config.mapping.num_layers) == (16, 24, 4)
    assert config.synthesis.growing  # type: ignore[union-attr]
    assert network.generator.num_ws == 8


@pytest.mark.parametrize("version", [2, 3, 4])
def test_versions(tmp_path: Path, version: int) -> None:
    """2 leaves empty lists of components out; 4 is StyleGAN2's configuration A, the same networks."""
    network = load(written(tmp_path, stylegan(version=version)))
    check_images(network)
    assert network.provenance.family == "stylegan-tensorflow"
    assert network.provenance.settings["version"] == version


def test_a_list_of_components_is_missing_only_in_version_2(tmp_path: Path) -> None:
    with pytest.raises(NetworkFileError, match="without its list of components"):
        inspect(written(tmp_path, stylegan(version=3, bare=True)))


def turned(parts: Parts) -> None:
    """Store the kernels as a transposed convolution wants them."""
    for name, value in parts["synthesis"].items():
        if name.endswith("Conv0_up/weight"):
            parts["synthesis"][name] = value[::-1, ::-1]


def test_fused_upsampling_stores_its_kernels_turned(tmp_path: Path) -> None:
    check_images(load(written(tmp_path, stylegan(turned, kwargs={"fused_scale": True}))))
    check_images(load(written(tmp_path, stylegan(kwargs={"fused_scale": False}))))
    plain, fused = (inspect(written(tmp_path, stylegan(kwargs={"fused_scale": v}))).state for v in (False, True))
    name = "synthesis.b8.conv0.weight"
    np.testing.assert_array_equal(plain.generator_state[name], fused.generator_state[name][:, :, ::-1, ::-1])


def enlarged(parts: Parts) -> None:
    """Grow the golden network to 128 px."""
    synthesis, critic = parts["synthesis"], parts["D"]
    for k, value in [(k, synthesis.pop(f"ToRGB_lod{k}/{kind}")) for k in range(4) for kind in ("weight", "bias")]:
        synthesis[f"ToRGB_lod{k + 2}/{'weight' if value.ndim == 4 else 'bias'}"] = value
    for k, value in [(k, critic.pop(f"FromRGB_lod{k}/{kind}")) for k in range(4) for kind in ("weight", "bias")]:
        critic[f"FromRGB_lod{k + 2}/{'weight' if value.ndim == 4 else 'bias'}"] = value
    random = np.random.default_rng(0)
    wide = synthesis["32x32/Conv1/weight"].shape[-1]
    for k, r in ((1, 64), (0, 128)):
        for layer in ("Conv0_up", "Conv1"):
            for name in ("weight", "bias", "StyleMod/weight", "StyleMod/bias", "Noise/weight"):
                shape = synthesis[f"32x32/Conv1/{name}"].shape
                synthesis[f"{r}x{r}/{layer}/{name}"] = random.standard_normal(shape).astype(np.float32)
        for i in range(2):
            synthesis[f"noise{10 - 2 * k + i}"] = random.standard_normal([1, 1, r, r]).astype(np.float32)
        for layer in ("Conv0", "Conv1_down"):
            critic[f"{r}x{r}/{layer}/weight"] = random.standard_normal([3, 3, wide, wide]).astype(np.float32)
            critic[f"{r}x{r}/{layer}/bias"] = np.zeros([wide], np.float32)
        for kind in ("weight", "bias"):
            synthesis[f"ToRGB_lod{k}/{kind}"] = synthesis[f"ToRGB_lod2/{kind}"]
            critic[f"FromRGB_lod{k}/{kind}"] = critic[f"FromRGB_lod2/{kind}"]


def test_kernels_are_turned_from_128_px_up(tmp_path: Path) -> None:
    larger = {"resolution": 128}
    path = written(tmp_path, stylegan(enlarged, kwargs=larger, d_kwargs=larger))
    state = inspect(path).state.generator_state
    parts: Parts = {}

    def keep(found: Parts) -> None:
        enlarged(found)
        parts.update(found)

    stylegan(keep)
    for r in (8, 32, 64, 128):
        stored = parts["synthesis"][f"{r}x{r}/Conv0_up/weight"].transpose(3, 2, 0, 1)
        wanted = stored[:, :, ::-1, ::-1] if r == 128 else stored
        np.testing.assert_array_equal(state[f"synthesis.b{r}.conv0.weight"], wanted)
        stored = parts["synthesis"][f"{r}x{r}/Conv1/weight"].transpose(3, 2, 0, 1)
        np.testing.assert_array_equal(state[f"synthesis.b{r}.conv1.weight"], stored)


def test_a_network_that_never_grew(tmp_path: Path) -> None:
    def fix(parts: Parts) -> None:
        for k in (1, 2, 3):
            for kind in ("weight", "bias"):
                del parts["synthesis"][f"ToRGB_lod{k}/{kind}"]
                del parts["D"][f"FromRGB_lod{k}/{kind}"]

    network = load(written(tmp_path, stylegan(fix, kwargs={"structure": "fixed"})))
    check_images(network)
    assert not network.generator.config.synthesis.growing  # type: ignore[union-attr]


def test_a_network_that_was_still_growing(tmp_path: Path) -> None:
    network = load(written(tmp_path, stylegan(put("", "lod", np.float32(1.5)))))  # type: ignore[arg-type]
    assert network.provenance.warnings == [
        "it was written while it grew, at 16 px (lod 1.5); layers above may not be trained"
    ]


def test_labels(tmp_path: Path) -> None:
    """A matrix beside z in the mapping network, one output per class in the discriminator."""
    random = np.random.default_rng(0)

    def label(parts: Parts) -> None:
        mapping, critic = parts["mapping"], parts["D"]
        mapping["LabelConcat/weight"] = random.standard_normal([3, 16]).astype(np.float32)
        shape = [32, mapping["Dense0/weight"].shape[1]]
        mapping["Dense0/weight"] = random.standard_normal(shape).astype(np.float32) * 100
        width = critic["4x4/Dense1/weight"].shape[0]
        # One column thrice: the outputs differ by their biases alone.
        critic["4x4/Dense1/weight"] = np.repeat(random.standard_normal([width, 1]), 3, axis=1).astype(np.float32)
        critic["4x4/Dense1/bias"] = np.arange(3, dtype=np.float32)

    labels = {"label_size": 3}
    network = load(written(tmp_path, stylegan(label, kwargs=labels, d_kwargs=labels)))
    z, c = torch.randn([3, 16]), torch.eye(3)
    with torch.no_grad():
        image = network.generator(z, c)
        assert network.discriminator is not None
        logits = network.discriminator(image, c)
        same = network.discriminator(image[:1].expand(3, -1, -1, -1), c)
    assert network.generator.config.mapping.c_dim == 3
    assert logits.shape == (3, 1)
    assert bool(image.isfinite().all())
    torch.testing.assert_close(same[:, 0] - same[0, 0], torch.arange(3.0), rtol=0, atol=1e-4)


def test_ablations(tmp_path: Path) -> None:
    """Table 1: without noise; with a dense layer instead of the constant, without styles, without mapping layers."""

    def silence(parts: Parts) -> None:
        for name in [name for name in parts["synthesis"] if "oise" in name]:
            del parts["synthesis"][name]

    network = load(written(tmp_path, stylegan(silence, kwargs={"use_noise": False})))
    original = load(GOLDEN / "nvidia_tf_stylegan1.pkl").generator
    z = torch.randn([2, 16])
    with torch.no_grad():
        torch.testing.assert_close(network.generator(z), original(z, noise="none"))

    def traditional(parts: Parts) -> None:
        silence(parts)
        synthesis = parts["synthesis"]
        width = synthesis.pop("4x4/Const/const").shape[1]
        synthesis["4x4/Dense/bias"] = synthesis.pop("4x4/Const/bias")
        random = np.random.default_rng(0)
        synthesis["4x4/Dense/weight"] = random.standard_normal([24, width * 16]).astype(np.float32)
        for name in [name for name in synthesis if "StyleMod" in name]:
            del synthesis[name]
        parts["mapping"].clear()

    settings: dict[str, Any] = {"use_noise": False, "use_styles": False, "const_input_layer": False}
    settings |= {"use_instance_norm": False, "use_pixel_norm": True, "mapping_layers": 0, "latent_size": 24}
    network = load(written(tmp_path, stylegan(traditional, kwargs=settings)))
    config = network.generator.config.synthesis
    assert isinstance(config, StyleGANSynthesisConfig)
    assert (config.input, config.use_styles, config.normalisation) == ("latent", False, "pixel")
    with torch.no_grad():
        image = network.generator(torch.randn([2, 24]))
    assert bool(image.isfinite().all())
    assert not torch.allclose(image[0], image[1])


def test_a_style_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NetworkFileError, match=r"lacks 'synthesis\.b8\.conv0\.affine\.weight'"):
        load(written(tmp_path, stylegan(drop("synthesis", "8x8/Conv0_up/StyleMod/weight"))))

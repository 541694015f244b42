import pytest
import torch

from generator.ops.bias_act import bias_act, default_gain
from generator.settings import ACTIVATIONS
from tests.golden_data import Arrays

GOLDEN = Arrays("bias_act")
CASES = GOLDEN.json("cases")


@pytest.mark.parametrize("i", range(len(CASES)), ids=lambda i: f"{i}-{CASES[i]['act']}")
def test_golden(i: int) -> None:
    case = CASES[i]
    x, b, dy = (GOLDEN[f"{i}.{name}"].requires_grad_() for name in ("x", "b", "dy"))
    y = bias_act(x, b, act=case["act"], gain=case["gain"], clamp=case["clamp"])
    dx, db = torch.autograd.grad(y, [x, b], dy, create_graph=True)
    d_dy, ddx = torch.autograd.grad((dx * GOLDEN[f"{i}.v"]).sum(), [dy, x], allow_unused=True)
    ddx = torch.zeros_like(x) if ddx is None else ddx  # straight pieces have no curvature
    for name, actual in (("y", y), ("dx", dx), ("db", db), ("d_dy", d_dy), ("ddx", ddx)):
        torch.testing.assert_close(actual.detach(), GOLDEN[f"{i}.{name}"], atol=1e-9, rtol=0)
    assert default_gain(case["act"]) == pytest.approx(case["default_gain"])


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("clamp", [None, 0.8])
def test_gradients(act: str, clamp: float | None) -> None:
    torch.manual_seed(3)
    x = torch.randn([2, 3, 4], dtype=torch.float64, requires_grad=True)
    b = torch.randn([4], dtype=torch.float64, requires_grad=True)

    def op(x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return bias_act(x, b, dim=-1, act=act, gain=1.3, clamp=clamp)

    assert torch.autograd.gradcheck(op, (x, b))
    assert torch.autograd.gradgradcheck(op, (x, b))


@pytest.mark.parametrize("act", ["lrelu", "swish"])
# opcheck itself reads .grad of a non-leaf tensor.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_opcheck(act: str) -> None:
    x, b = torch.randn([2, 3, 4], requires_grad=True), torch.randn([3], requires_grad=True)
    settings = (1, ACTIVATIONS.index(act), 0.2, 1.4, -1.0)
    torch.library.opcheck(torch.ops.invert.bias_act.default, (x, b, *settings))
    ref = x.detach().clone().requires_grad_(act == "swish")
    torch.library.opcheck(torch.ops.invert.bias_act_backward.default, (x, ref, b.detach(), *settings))


def test_without_bias_and_on_an_empty_batch() -> None:
    x = torch.tensor([[-2.0, 1.0]])
    torch.testing.assert_close(bias_act(x, act="lrelu", gain=1.0), torch.tensor([[-0.4, 1.0]]))
    assert bias_act(torch.zeros([0, 3]), torch.zeros([3]), act="relu").shape == (0, 3)


@pytest.mark.parametrize(
    "settings", [{"act": "gelu"}, {"gain": 0.0}, {"clamp": -1.0}, {"b": torch.zeros([5])}, {"b": torch.zeros([1, 3])}]
)
def test_refuses_wrong_settings(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"activation|positive|does not fit"):
        bias_act(torch.zeros([2, 3]), **settings)  # type: ignore[arg-type]

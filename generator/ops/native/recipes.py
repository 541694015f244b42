"""What the native libraries are built from and how: compilers, flags and files, as data. Nothing here builds."""

import hashlib
import importlib.util
import platform
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = [
    "CPU_ONLY",
    "Recipe",
    "Unit",
    "cpu_recipe",
    "csrc_folder",
    "cuda_recipe",
    "ninja_text",
    "recipe_digest",
    "torch_folder",
]

# The stable ABI of torch 2.10: one library serves that version and later ones.
_TARGET = "-DTORCH_TARGET_VERSION=0x020a000000000000"
# An element's value must not depend on where in memory it lies, nor on how many there are: a loop's vector body and the
# scalar iterations before and after it have to round alike.
_ARITHMETIC = (
    # The scalar and the vector form of a loop are contracted into fused multiply-adds differently; so neither is.
    # Kernels that want a fused multiply-add write `multiply_add`.
    "-ffp-contract=off",
    # Square roots and roundings become instructions: nobody reads errno or the floating-point status afterwards.
    "-fno-math-errno",
    "-fno-trapping-math",
    # Sums are vectorised where a pragma says so, and only there.
    "-fopenmp-simd",
    # No scalar iterations in front of a loop until its pointer is aligned: which elements these are depends on the
    # address.
    "--param=vect-max-peeling-for-alignment=0",
)
_COMMON = ("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")
# One library holds every set, and chooses among them when it first runs (csrc/cpu/dispatch.cpp). Vectors of 512 bits
# have to be asked for: compilers prefer 256, for the sake of processors that lower their clock for the wide ones.
_AVX2 = ("-mavx2", "-mfma", "-mf16c")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512")
_INSTRUCTION_SETS: dict[str, tuple[str, ...]] = {"baseline": (), "avx2": _AVX2, "avx512": _AVX512}

_OPERATORS = ("bias_act", "conv_tail", "filtered_lrelu", "lpips_tail", "upfirdn2d")
CPU_ONLY = {
    "demodulation": ("demodulation", "demodulation_backward"),
    "layer_tail": ("layer_tail", "layer_tail_backward"),
    "normalised_tail": ("normalised_tail", "normalised_tail_backward"),
    "noise_maps": ("noise_penalty", "noise_normalise_"),
    "pixel_product": ("pixel_product", "pixel_product_backward"),
    "seeded_normal": ("seeded_normal",),
}
"""Sources without a CUDA kernel, and their operators: demodulation of frozen layers, the tail of layers in training,
that of frozen layers which normalise, what keeps noise maps noise and images of feature maps are plain operators
on a GPU; the published programs draw numbers on the CPU."""
_ARCHITECTURES = ("80", "90")


@dataclass(frozen=True)
class Unit:
    """One call of a compiler.

    Attributes:
        source: The source file, under `csrc`.
        object: Name of the object file that it gives.
        compiler: "cxx" or "nvcc".
        flags: Flags of the compiler.
    """

    source: str
    object: str
    compiler: str
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """All that makes one library, apart from the compilers' names.

    Attributes:
        name: Name of the library, without the suffix.
        units: Calls of the compilers.
        include: Folders of headers.
        link: Flags of the linker.
        extra: Flags of every compiler call and of the linker, such as those of a sanitizer.
    """

    name: str
    units: tuple[Unit, ...]
    include: tuple[Path, ...]
    link: tuple[str, ...]
    extra: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """Name of the library's file."""
        return f"{self.name}.so"

    def with_flags(self, *flags: str) -> "Recipe":
        """Return the same recipe with more flags for the compiler and the linker."""
        return replace(self, extra=(*self.extra, *flags))


def csrc_folder() -> Path:
    """Return the folder of the sources: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    installed = package / "csrc"
    return installed if installed.is_dir() else package.parent / "csrc"


def torch_folder() -> Path:
    """Return where torch is installed, without importing it.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("torch is not installed")
    return Path(spec.origin).parent


def cpu_recipe() -> Recipe:
    """Return how the CPU library is built: every operator once per instruction set, and what torch sees once."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    sets = _INSTRUCTION_SETS if x86 else {"baseline": ()}
    flags = (*_COMMON, *_ARITHMETIC)
    units = [
        Unit(f"cpu/{name}.cpp", f"{name}.{isa}.o", "cxx", (*flags, *isa_flags, f"-DINVERT_ISA={isa}"))
        for isa, isa_flags in sets.items()
        for name in (*_OPERATORS, *CPU_ONLY)
    ]
    units += [Unit(f"binding/{name}.cpp", f"{name}.o", "cxx", (*_COMMON, _TARGET)) for name in (*_OPERATORS, *CPU_ONLY)]
    units += [Unit(f"cpu/{name}.cpp", f"{name}.o", "cxx", (*flags, _TARGET)) for name in ("dispatch", "parallel")]
    torch = torch_folder()
    # On macOS a linker refuses what it does not find in the libraries that are named; torch brings it when it loads.
    late = ("-undefined", "dynamic_lookup") if platform.system() == "Darwin" else ()
    link = ("-shared", f"-L{torch / 'lib'}", "-ltorch_cpu", *late)
    return Recipe("invert_cpu", tuple(units), (torch / "include",), link)


def cuda_recipe(cuda_home: Path, architectures: Iterable[str] = _ARCHITECTURES) -> Recipe:
    """Return how the CUDA library is built: machine code for `architectures` and, for later ones, PTX of the last.

    Args:
        cuda_home: Folder of the CUDA toolkit.
        architectures: Compute capabilities without the dot, such as "80".
    """
    codes = list(architectures)
    targets = [f"-gencode=arch=compute_{code},code=sm_{code}" for code in codes]
    targets.append(f"-gencode=arch=compute_{codes[-1]},code=compute_{codes[-1]}")
    device = ("-std=c++17", "-O3", "-Xcompiler=-fPIC,-fvisibility=hidden", "-DINVERT_ISA=cuda", *targets)
    units = [Unit(f"cuda/{name}.cu", f"{name}.cu.o", "nvcc", device) for name in _OPERATORS]
    host = (*_COMMON, _TARGET, "-DUSE_CUDA", "-DINVERT_CUDA")
    units += [Unit(f"binding/{name}.cpp", f"{name}.o", "cxx", host) for name in _OPERATORS]
    torch = torch_folder()
    link = ("-shared", f"-L{torch / 'lib'}", f"-L{cuda_home / 'lib64'}", "-ltorch_cuda", "-ltorch_cpu", "-lcudart")
    return Recipe("invert_cuda", tuple(units), (torch / "include", cuda_home / "include"), link)


def recipe_digest(recipe: Recipe, *more: str) -> str:
    """Return a hash of everything the library depends on: sources, flags, and `more` (the compilers' versions).

    Where torch is installed is left out: the same kernels in another environment are the same in a run record.
    """
    link = tuple(flag for flag in recipe.link if not flag.startswith("-L"))
    state = hashlib.sha256(repr((recipe.name, recipe.units, link, recipe.extra, more)).encode())
    folder = csrc_folder()
    for path in sorted(folder.glob("*/*")):
        if path.suffix in (".h", ".cpp", ".cu"):
            state.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
            state.update(path.read_bytes())
    return state.hexdigest()[:16]


def ninja_text(recipe: Recipe, cxx: str = "c++", nvcc: str = "nvcc") -> str:
    """Return a ninja file that builds the library in the folder it is run in.

    Args:
        recipe: What `cpu_recipe` or `cuda_recipe` returned.
        cxx: Command of the C++ compiler.
        nvcc: Command of the CUDA compiler, which is used where a unit asks for it.
    """
    folder = csrc_folder()
    include = " ".join(f"-isystem {_argument(path)}" for path in recipe.include)
    extra = " ".join(map(_argument, recipe.extra))
    lines = [
        "ninja_required_version = 1.3",
        f"cxx = {_word(cxx)}",
        f"nvcc = {_word(nvcc)}",
        "rule cxx",
        f"  command = $cxx -MMD -MF $out.d $flags {extra} {include} -c $in -o $out",
        "  depfile = $out.d",
        "rule nvcc",
        f"  command = $nvcc -MD -MF $out.d $flags {include} -c $in -o $out",
        "  depfile = $out.d",
        "rule link",
        f"  command = $cxx {extra} $in -o $out $flags",
    ]
    for unit in recipe.units:
        lines += [
            f"build {unit.object}: {unit.compiler} {_word(folder / unit.source)}",
            f"  flags = {' '.join(map(_argument, unit.flags))}",
        ]
    lines += [
        f"build {recipe.file_name}: link {' '.join(unit.object for unit in recipe.units)}",
        f"  flags = {' '.join(map(_argument, recipe.link))}",
        f"default {recipe.file_name}",
    ]
    return "\n".join(lines) + "\n"


def _argument(text: object) -> str:
    """Write one argument of a command as the shell and ninja read it."""
    return shlex.quote(str(text)).replace("$", "$$")


def _word(text: object) -> str:
    """Escape for a ninja file (paths with spaces, colons or dollars)."""
    return str(text).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")

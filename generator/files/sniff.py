"""Say what a file is by its first bytes, never by its name."""

import re
from typing import Final

from generator.errors import NetworkFileError

__all__ = ["HEAD", "sniff"]

HEAD: Final = 4096  # bytes that are looked at

_TORCH_MAGIC: Final = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_DOWNLOAD: Final = "download the network itself again"

# What else is found under the name of a network, by how it begins.
_OTHERS: Final = (
    (rb"\x89PNG\r\n\x1a\n", "a PNG image; give the network with --network and the image as IMAGE"),
    (rb"\xff\xd8\xff", "a JPEG image; give the network with --network and the image as IMAGE"),
    (
        rb"GIF8[79]a|RIFF....WEBP|BM|II\*\0|MM\0\*",
        "an image; give the network with --network and the image as IMAGE",
    ),
    (rb"version https://git-lfs", "a Git-LFS pointer, not the file it stands for; fetch that with 'git lfs pull'"),
    (
        rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype|html|head|\?xml|!--)",
        f"a web page (HTML or XML), not a network; {_DOWNLOAD}",
    ),
    (rb"\x1f\x8b", "a gzip archive; unpack it and give the network inside"),
    (rb"BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!", "a compressed archive; unpack it and give the network inside"),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras weights or results), not a StyleGAN2 network"),
    (rb"\x93NUMPY", "a numpy array: a latent, if anything, and not a network"),
    (rb"GGUF|TFL3|....TFL3", "a model of another kind (GGUF or TensorFlow Lite)"),
    (rb"\x08[\x01-\x20]\x12[^\0]{0,64}(pytorch|onnx|tf2onnx|keras)|\x08[\x01-\x20]\x12.\w+\x1a", "an ONNX model"),
    (rb"%PDF", "a PDF document, not a network"),
    (rb"\x7fELF|MZ|#!", "a program, not a network; it is never run"),
    (rb"\0+\Z", f"a file of zero bytes, as an unfinished download leaves it; {_DOWNLOAD}"),
)


def sniff(head: bytes, size: int) -> str:
    """Return the kind of a file that may hold a network: "safetensors", "pickle", "torch zip" or "torch stream".

    Args:
        head: Its first `HEAD` bytes.
        size: Its length.

    Raises:
        NetworkFileError: It is something else; the message says what it looks like and what to do.
    """
    if not size:
        raise NetworkFileError(f"the file is empty; {_DOWNLOAD}")
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return "torch stream" if head[2 : 2 + len(_TORCH_MAGIC)] == _TORCH_MAGIC else "pickle"
    if head[:4] == b"PK\3\4":
        return "torch zip"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return "safetensors"
    raise NetworkFileError(f"this looks like {_describe(head)}")


def _describe(head: bytes) -> str:
    for pattern, what in _OTHERS:
        if re.match(pattern, head, re.DOTALL):
            return what
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it and give the network inside"
    if head[:2] == b"PK":
        return "an empty or split zip file, not a network"
    if head[8:9] == b"{":
        return f"a safetensors file that was cut off; {_DOWNLOAD}"
    text = re.sub(rb"[^\t\r\n -~]", b"", head)
    if len(text) > 0.95 * len(head):
        if text.lstrip()[:1] in (b"{", b"["):
            return "a JSON file, not a network"
        if re.match(rb"\(?[a-z]\w*[\w.]*\n\w+\n|\(?[dl]p?\d*\n|I\d+\n|[SV]'", text):
            return "a pickle of protocol 0, which no network file uses; it was not read"
        return f"a text file, not a network; {_DOWNLOAD}"
    return f"none of the known network files (it begins with the bytes {head[:8].hex(' ')})"

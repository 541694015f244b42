"""StyleGAN2 networks, trainable and usable without the command line.

Importing this package imports nothing else; take what is needed from its modules:
`generator.config`, `generator.networks`, `generator.files.reading`, `generator.files.checkpoint`.
"""

__all__: list[str] = []

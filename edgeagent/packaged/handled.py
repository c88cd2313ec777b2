"""The decoder of a package with ``decoder = "handler"``: its own code tells what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from edgeagent.errors import ConfigError, PackageError
from edgeagent.interpret.outputs import all_labels, real, scaling, stateless
from edgeagent.packaged.code import Code

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edgeagent.decide.rules import Facts
    from edgeagent.manifest import Package
    from edgeagent.types import Prediction, Prepared, TensorSpec


class Handled:
    """See `interpret.decoder.Decoder`. Raises as `Code`; `close` ends its process."""

    dropped = 0

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.labels = all_labels(package)
        self._outputs = [(place, outputs[place]) for place in stateless(package, outputs)]
        self.code = Code(package, threshold)
        if "decode" not in self.code.does:
            self.close()
            raise PackageError(
                f"{package.name} {package.version}: its handler.py has no function decode",
                remedy="Write def decode(outputs, about): docs/handlers.md.",
            )

    @property
    def receipt(self) -> str:
        """What runs it and what keeps it in."""
        return self.code.receipt

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        """Raises CodeFailed."""
        return self.code.decode(
            [(its.name, _real(outputs[place], its)) for place, its in self._outputs],
            prepared.placement,
        )

    def close(self) -> None:
        """End its process."""
        self.code.close()


def _real(values: NDArray[Any], tensor: TensorSpec) -> NDArray[Any]:
    """Quantized values as what they stand for; others as they are."""
    return values if scaling(tensor) == (1.0, 0) else real(values, tensor)


class Brought:
    """The code of a pipeline's package: one process, for the decoder and for a rule. It is started
    when the first of them needs it."""

    def __init__(self, package: Package, decoder: object, threshold: float) -> None:
        self._package = package
        self._threshold = threshold
        self.code = decoder.code if isinstance(decoder, Handled) else None

    def rule(self) -> Callable[[Facts], float]:
        """What ``plugin('handler')`` asks. Raises as `Code`; ConfigError: there is no such rule."""
        if self.code is None:
            self.code = Code(self._package, self._threshold)
        if "rule" not in self.code.does:
            no_rule(self._package.name, {})
        return self.code.rule

    def hand_over(self) -> None:
        """Whoever asks next is answered."""

    def close(self) -> None:
        """End its process."""
        if self.code is not None:
            self.code.close()


def no_rule(name: str, _options: dict[str, Any]) -> NoReturn:
    """What ``plugin('handler')`` means where the model's package brings no rule. Raises
    ConfigError."""
    raise ConfigError(
        f"{name}: plugin('handler') is a rule that a model's package brings, and this one brings "
        "none",
        remedy="Write def rule(seen, about) in its handler.py, or ask another rule.",
    )

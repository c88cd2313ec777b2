"""Receipts of five real models against counts made by hand: XNNPACK on and off, with every way in
which a delegate can be (a toy that takes one kind of operator, takes none, lies, is slow, fails).
Those that crash or hang are tried in a child: tests/e2e/agent/test_delegates.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import ModelError
from edgeagent.infer.litert import find_library, open_litert
from edgeagent.infer.session import Options

RESHAPE, CONV, DEPTHWISE, FULLY, ADD = 22, 3, 4, 9, 0
"""Codes of operators in TFLite's schema."""

# Counted in listings of the graphs: operators, what XNNPACK leaves of int8, and all together.
MODELS = {
    "kws_ref_model": (
        {CONV: 5, DEPTHWISE: 4, RESHAPE: 1, FULLY: 1, ADD: 0},
        {"AVERAGE_POOL_2D": 1, "SOFTMAX": 1},
        13,
    ),
    "ic_resnet8_int8": (
        {CONV: 9, DEPTHWISE: 0, RESHAPE: 1, FULLY: 1, ADD: 3},
        {"AVERAGE_POOL_2D": 1, "SOFTMAX": 1},
        16,
    ),
    "vww_96_int8": (
        {CONV: 14, DEPTHWISE: 13, RESHAPE: 1, FULLY: 1, ADD: 0},
        {"AVERAGE_POOL_2D": 1, "SOFTMAX": 1},
        31,
    ),
    "ad01_int8": ({CONV: 0, DEPTHWISE: 0, RESHAPE: 0, FULLY: 10, ADD: 0}, {}, 10),
    "coco_ssd_mobilenet_v1_quant": (
        {CONV: 34, DEPTHWISE: 13, RESHAPE: 13, FULLY: 0, ADD: 0},
        {"CONCATENATION": 2, "TFLite_Detection_PostProcess": 1},
        64,
    ),
}
WORKING = {"as it is": {}, "lies": {"add": "7"}, "slow": {"slow": "5000"},
           "will lose its device": {"fail": "invoke"}}  # fmt: skip
FAILING = {"create": "refuses to start: toy: no device found", "prepare": "toy: no such firmware"}

pytestmark = pytest.mark.assets


@pytest.fixture(params=["with XNNPACK", "without"])
def xnnpack(
    request: pytest.FixtureRequest, xnnpack_int8: bool, monkeypatch: pytest.MonkeyPatch
) -> bool:
    if request.param == "without":
        module = find_library().interpreter
        plain = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        real = module.Interpreter

        def made(**options: Any) -> Any:
            return real(**{**options, "experimental_op_resolver_type": plain})

        monkeypatch.setattr(module, "Interpreter", made)
        return False
    if not xnnpack_int8:
        pytest.skip("this library runs no int8 operators on XNNPACK")
    return True


def counted(name: str, taken: int, xnnpack: bool) -> dict[str, int]:
    """Operators by place, by hand."""
    _, left, total = MODELS[name]
    plain = sum(left.values()) if xnnpack else total - taken
    placed = {"libtoy.so": taken, "XNNPACK": total - taken - plain, "builtin": plain}
    return {place: count for place, count in placed.items() if count}


@pytest.mark.parametrize("code", [RESHAPE, CONV, DEPTHWISE, FULLY, ADD])
@pytest.mark.parametrize("name", MODELS)
def test_what_the_toy_takes(assets: Path, toy: Path, xnnpack: bool, name: str, code: int) -> None:
    operators, left, total = MODELS[name]
    taken = operators[code]
    path = assets / "models" / f"{name}.tflite"
    for how, more in WORKING.items():
        asked = Options(delegate=str(toy), extra={"take": str(code), **more})
        session = open_litert(path, asked)
        receipt = session.receipt
        session.close()
        assert receipt.placement == counted(name, taken, xnnpack), how
        if xnnpack:
            assert receipt.left == left, how
        nothing = f"libtoy.so takes none of the model's {total} operators"
        assert receipt.fallback == ("" if taken else nothing), how
        if not taken:
            required = Options(delegate=str(toy), extra=asked.extra, require=True)
            with pytest.raises(ModelError, match="takes none of the model's"):
                open_litert(path, required)


@pytest.mark.parametrize("fail", FAILING)
@pytest.mark.parametrize("name", MODELS)
def test_a_toy_that_fails_leaves_what_there_is_without_it(
    assets: Path, toy: Path, xnnpack: bool, name: str, fail: str
) -> None:
    path = assets / "models" / f"{name}.tflite"
    code = next(code for code, count in MODELS[name][0].items() if count)
    extra = {"take": str(code), "fail": fail}
    session = open_litert(path, Options(delegate=str(toy), extra=extra))
    assert session.receipt.placement == counted(name, 0, xnnpack)
    assert FAILING[fail] in session.receipt.fallback
    session.close()
    with pytest.raises(ModelError, match=FAILING[fail]):
        open_litert(path, Options(delegate=str(toy), extra=extra, require=True))

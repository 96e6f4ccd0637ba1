"""Sixteen floats at once: explicit vectors for the kernels that LLVM does not vectorise well by itself.

A loop over columns whose taps vary, as of a resize, has no shape that LLVM's vectorisers take: they leave scalar code,
or guard every short loop against overlapping arrays. So those kernels say themselves what a vector is. These are LLVM's
generic vectors, not the instructions of one processor: sixteen floats are one register with AVX-512, two with AVX2,
four with NEON.

`Lanes` are values in compiled code only. Offsets are those of offsets.py; loads and stores need no alignment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic, models, register_model

LANES = 16
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_BYTES = ir.VectorType(ir.IntType(8), LANES)
_EIGHT = ir.VectorType(ir.FloatType(), 8)
_FLAGS = ("contract", "nnan", "ninf", "nsz")


class Lanes(types.Type):
    """Type of sixteen float32."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOATS)


lanes = Lanes()


@intrinsic
def zeros(typing: Any) -> Any:
    """Sixteen zeros."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(_FLOATS, [0.0] * LANES)

    return lanes(), generate


@intrinsic
def load(typing: Any, array: Any, offset: Any) -> Any:
    """array[offset : offset + 16] of an array of float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_place(context, builder, signature.args[0], arguments, _FLOATS), align=4)

    return lanes(array, offset), generate


@intrinsic
def load_bytes(typing: Any, array: Any, offset: Any) -> Any:
    """array[offset : offset + 16] of an array of uint8, as floats."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = builder.load(_place(context, builder, signature.args[0], arguments, _BYTES), align=1)
        return builder.uitofp(found, _FLOATS)

    return lanes(array, offset), generate


@intrinsic
def store(typing: Any, array: Any, offset: Any, value: Any) -> Any:
    """array[offset : offset + 16] = value."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _place(context, builder, signature.args[0], arguments, _FLOATS), align=4)
        return context.get_dummy_value()

    return types.void(array, offset, value), generate


@intrinsic
def added(typing: Any, a: Any, b: Any) -> Any:
    """a + b."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(*arguments, flags=_FLAGS)

    return lanes(a, b), generate


@intrinsic
def plus(typing: Any, total: Any, weight: Any, value: Any) -> Any:
    """total + weight * value, where the weight is one float."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total, weight, value = arguments
        first = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), weight, ir.Constant(ir.IntType(32), 0))
        everywhere = _shuffled(builder, first, first, [0] * LANES)
        return builder.fadd(total, builder.fmul(everywhere, value, flags=_FLAGS), flags=_FLAGS)

    return lanes(lanes, types.float32, lanes), generate


@intrinsic
def transpose(typing: Any, source: Any, s: Any, s_step: Any, target: Any, t: Any, t_step: Any) -> Any:
    """A block of 8 x 8 floats, whose rows begin at source[s], source[s + s_step] ..., into target, turned over.

    The rows of the target are written in their order. Three rounds of exchanges between registers.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, s, s_step, target, t, t_step = arguments

        def place(array: Any, kind: Any, start: Any, step: Any, row: int) -> Any:
            offset = builder.add(start, builder.mul(step, ir.Constant(step.type, row)))
            return _place(context, builder, kind, (array, offset), _EIGHT)

        rows = [builder.load(place(source, signature.args[0], s, s_step, row), align=4) for row in range(8)]
        for distance in (1, 2, 4):  # rows and columns whose numbers differ in this bit change places
            upper = [8 + i - distance if i & distance else i for i in range(8)]
            lower = [8 + i if i & distance else i + distance for i in range(8)]
            turned = list(rows)
            for row in range(8):
                if not row & distance:
                    pair = rows[row], rows[row + distance]
                    turned[row] = _shuffled(builder, *pair, upper)
                    turned[row + distance] = _shuffled(builder, *pair, lower)
            rows = turned
        for row in range(8):
            builder.store(rows[row], place(target, signature.args[3], t, t_step, row), align=4)
        return context.get_dummy_value()

    return types.void(source, s, s_step, target, t, t_step), generate


def _place(context: Any, builder: Any, kind: Any, arguments: Sequence[Any], vector: Any) -> Any:
    """Pointer to a vector in an array, the first two arguments being the array and the offset."""
    data = context.make_array(kind)(context, builder, arguments[0]).data
    return builder.bitcast(builder.gep(data, [arguments[1]]), vector.as_pointer())


def _shuffled(builder: Any, a: Any, b: Any, places: Sequence[int]) -> Any:
    number = ir.IntType(32)
    mask = ir.Constant(ir.VectorType(number, len(places)), [ir.Constant(number, place) for place in places])
    return builder.shuffle_vector(a, b, mask)

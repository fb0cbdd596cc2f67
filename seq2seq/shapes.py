"""The types of tensors and arrays in signatures: `Float[Tensor, "batch src"]` is a tensor of floats with two axes.

They are those of jaxtyping, and the tests check every shape. Without jaxtyping they are the plain types, so that a
machine that only translates needs neither it nor numpy.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Float64, Int, Int64, Integer, Shaped, UInt64
    from numpy import ndarray as Array
else:
    try:
        from jaxtyping import Bool, Float, Float32, Float64, Int, Int64, Integer, Shaped, UInt64
    except ImportError:

        class Float:
            """A stand-in: with a type and a shape in brackets it is the type."""

            def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
                """Return the type without the shape."""
                return item[0]

        Bool = Float32 = Float64 = Int = Int64 = Integer = Shaped = UInt64 = Float
    try:
        from numpy import ndarray as Array
    except ImportError:
        Array = Any

__all__ = ["Array", "Bool", "Float", "Float32", "Float64", "Int", "Int64", "Integer", "Shaped", "UInt64"]

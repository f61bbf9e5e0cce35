"""Layers of Keras with one input, by the name of their class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from convmtx.errors import UnsupportedError
from convmtx.extras import import_extra
from convmtx.interop.keras import moving, pooling, resizing, weighted
from convmtx.interop.keras.reading import number_type
from convmtx.maps.affine import Affine
from convmtx.typing import Shape

_Converter: TypeAlias = Callable[[Any, Shape], Affine | tuple[Affine, ...]]


def convert(layer: Any, shape: Shape, bends: bool) -> tuple[Affine, ...]:
    """Return the affine maps that a layer of Keras itself applies one after the other; refuse what has no such maps.

    If it ``bends``, the maps are those before the activation.
    """
    name = type(layer).__name__
    converter = _CONVERTERS.get(name)
    if converter is None or not is_kerass_own(layer):
        raise UnsupportedError(f"layer {name}", "Expected a linear layer that from_keras lists", "Convert its parts")
    refuse_replaced_weights(layer)
    if has_activation(layer) and not bends:
        got = f"{name} with activation={getattr(layer.activation, '__name__', layer.activation)!r}"
        raise UnsupportedError(got, "Expected none, for it is not linear", "Make it a layer of its own, or pass at=x")
    if converter in _WEIGHTED and not layer.built:
        raise UnsupportedError(f"{name} that is not built", "It has no weights yet", "Build it, or call it once")
    n_axes = getattr(layer.input_spec, "ndim", None)
    if n_axes not in (None, len(shape) + 1):
        got = f"an input of shape {shape} for {name}"
        raise UnsupportedError(got, f"Expected {n_axes - 1} axes", "Pass the shape of one input, without the batch")
    maps = converter(layer, shape)
    return maps if isinstance(maps, tuple) else (maps,)


def has_activation(layer: Any) -> bool:
    """Whether a layer ends in a function that is not linear."""
    linear = import_extra("keras", "keras").activations.linear
    return getattr(layer, "activation", None) not in (None, linear)


def is_kerass_own(layer: Any) -> bool:
    """Whether a layer computes what the class of its name in `keras.layers` does.

    A user's subclass may compute anything, and so may a layer with a ``call`` of its own.
    """
    kind = type(layer)
    is_own = kind is getattr(import_extra("keras", "keras").layers, kind.__name__, None)
    return is_own and not {"call", "__call__"} & vars(layer).keys()


def refuse_replaced_weights(layer: Any) -> None:
    """Refuse weights that the layer does not compute with, and weights that are not floating point numbers."""
    name = type(layer).__name__
    if getattr(layer, "quantization_mode", None) is not None:
        got = f"{name} with quantization_mode={layer.quantization_mode!r}"
        raise UnsupportedError(
            got, "It rounds its inputs, so that it is not linear", "Convert the layer before quantize()"
        )
    if getattr(layer, "lora_enabled", False):
        got = f"{name} with lora_enabled=True"
        raise UnsupportedError(
            got, "Its kernel is a sum that from_keras does not read", "Save and load it to merge them"
        )
    number_type(layer.variable_dtype)


#: Converters of layers that have weights, once they are built.
_WEIGHTED = (
    weighted.convolution, weighted.depthwise, weighted.separable, weighted.transpose, weighted.batch_norm,
    weighted.normalization, weighted.dense, weighted.einsum_dense,
)  # fmt: skip
#: Converters by the name of the class in `keras.layers`.
_CONVERTERS: dict[str, _Converter] = {
    "BatchNormalization": weighted.batch_norm,
    "Normalization": weighted.normalization,
    "Rescaling": weighted.rescaling,
    "Dense": weighted.dense,
    "EinsumDense": weighted.einsum_dense,
    "Flatten": moving.flatten,
    "Permute": moving.permute,
    "RepeatVector": moving.repeat_vector,
    "Reshape": moving.reshape,
    "Resizing": resizing.resizing,
    **dict.fromkeys(("Activation", "ActivityRegularization", "Identity", "InputLayer"), moving.identity),
    **dict.fromkeys(("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"), moving.identity),
    **dict.fromkeys(("AlphaDropout", "GaussianDropout", "GaussianNoise"), moving.identity),
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), weighted.convolution),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), weighted.depthwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), weighted.separable),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), weighted.transpose),
    **dict.fromkeys(("AveragePooling1D", "AveragePooling2D", "AveragePooling3D"), pooling.average),
    **dict.fromkeys(
        ("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D"), pooling.global_average
    ),
    **dict.fromkeys(
        ("AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D"), pooling.adaptive_average
    ),
    **dict.fromkeys(("Cropping1D", "Cropping2D", "Cropping3D"), moving.cropping),
    **dict.fromkeys(("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D"), moving.zero_padding),
    **dict.fromkeys(("UpSampling1D", "UpSampling2D", "UpSampling3D"), resizing.upsampling),
}

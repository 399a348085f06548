"""Every element and attribute that stays in a purified SVG; what is not listed here goes (SVG 1.1 and 2)."""

from __future__ import annotations


def listed(words: str) -> frozenset[str]:
    """The words between blanks."""
    return frozenset(words.split())


PICTURES = frozenset({"image", "feImage"})
"""Elements that may hold a raster picture as a `data:` URL."""
ANIMATIONS = frozenset({"animate", "animateMotion", "animateTransform", "set"})

ELEMENTS = (
    PICTURES
    | ANIMATIONS
    | listed(
        "a circle clipPath defs desc ellipse g line linearGradient marker mask mpath path pattern polygon polyline "
        "radialGradient rect stop style svg switch symbol text textPath title tspan use "
        "feBlend feColorMatrix feComponentTransfer feComposite feConvolveMatrix feDiffuseLighting feDisplacementMap "
        "feDistantLight feDropShadow feFlood feFuncA feFuncB feFuncG feFuncR feGaussianBlur feMerge feMergeNode "
        "feMorphology feOffset fePointLight feSpecularLighting feSpotLight feTile feTurbulence filter"
    )
)

PAINTED = listed(
    "alignment-baseline baseline-shift clip clip-path clip-rule color color-interpolation color-interpolation-filters "
    "color-rendering cursor direction display dominant-baseline enable-background fill fill-opacity fill-rule filter "
    "flood-color flood-opacity font font-family font-feature-settings font-kerning font-size font-size-adjust "
    "font-stretch font-style font-variant font-variation-settings font-weight glyph-orientation-horizontal "
    "glyph-orientation-vertical image-rendering isolation kerning letter-spacing lighting-color line-height marker "
    "marker-end marker-mid marker-start mask mask-type mix-blend-mode opacity overflow paint-order pointer-events "
    "shape-rendering stop-color stop-opacity stroke stroke-dasharray stroke-dashoffset stroke-linecap stroke-linejoin "
    "stroke-miterlimit stroke-opacity stroke-width text-anchor text-decoration text-orientation text-overflow "
    "text-rendering transform-box transform-origin unicode-bidi vector-effect visibility white-space word-spacing "
    "writing-mode "
    "by from to values"
)
"""Presentation attributes and what animations put into them: their values are CSS and may name other things."""

PLAIN = listed(
    "class id lang role tabindex type media version baseProfile zoomAndPan "
    "requiredExtensions requiredFeatures systemLanguage "
    "cx cy d dx dy fr fx fy height lengthAdjust method offset pathLength points preserveAspectRatio r rotate rx ry "
    "side spacing startOffset textLength transform viewBox width x x1 x2 y y1 y2 "
    "clipPathUnits gradientTransform gradientUnits markerHeight markerUnits markerWidth maskContentUnits maskUnits "
    "orient patternContentUnits patternTransform patternUnits refX refY spreadMethod "
    "amplitude azimuth baseFrequency bias diffuseConstant divisor edgeMode elevation exponent filterRes filterUnits in "
    "in2 intercept k1 k2 k3 k4 kernelMatrix kernelUnitLength limitingConeAngle mode numOctaves operator order "
    "pointsAtX pointsAtY pointsAtZ preserveAlpha primitiveUnits radius result scale seed slope specularConstant "
    "specularExponent "
    "stdDeviation stitchTiles surfaceScale tableValues targetX targetY xChannelSelector yChannelSelector z "
    "accumulate additive attributeName attributeType begin calcMode dur end keyPoints keySplines keyTimes max min "
    "origin path repeatCount repeatDur restart"
)
ARIA = "aria-"

ANIMATED = PAINTED | PLAIN - {"attributeName", "id", "class", "type", "media"}
"""Attributes whose value an animation may change; no link is among them."""

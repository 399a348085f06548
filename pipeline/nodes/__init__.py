"""The node types, one file each; this list is all there is."""

from pipeline.nodes.adjust import Adjust
from pipeline.nodes.animate import Animate
from pipeline.nodes.ask import Ask
from pipeline.nodes.base import Node
from pipeline.nodes.blur import Blur
from pipeline.nodes.border import Border
from pipeline.nodes.canvas import Canvas
from pipeline.nodes.collage import Collage
from pipeline.nodes.conditional import Conditional
from pipeline.nodes.convert import Convert
from pipeline.nodes.crop import Crop
from pipeline.nodes.deepzoom import Deepzoom
from pipeline.nodes.distort import Distort
from pipeline.nodes.duotone import Duotone
from pipeline.nodes.enhance import Enhance
from pipeline.nodes.exif import Exif
from pipeline.nodes.faces import Faces
from pipeline.nodes.first import First
from pipeline.nodes.flip import Flip
from pipeline.nodes.frames import Frames
from pipeline.nodes.gradient import Gradient
from pipeline.nodes.grayscale import Grayscale
from pipeline.nodes.hash import Hash
from pipeline.nodes.http import Http
from pipeline.nodes.icc import Icc
from pipeline.nodes.info import Info
from pipeline.nodes.input import Input
from pipeline.nodes.invert import Invert
from pipeline.nodes.label import Label
from pipeline.nodes.metadata import Metadata
from pipeline.nodes.notify import Notify
from pipeline.nodes.optimize import Optimize
from pipeline.nodes.orient import Orient
from pipeline.nodes.overlay import Overlay
from pipeline.nodes.pad import Pad
from pipeline.nodes.palette import Palette
from pipeline.nodes.pdf import Pdf
from pipeline.nodes.placeholder import Placeholder
from pipeline.nodes.recolour import Recolour
from pipeline.nodes.rectangle import Rectangle
from pipeline.nodes.redact import Redact
from pipeline.nodes.resize import Resize
from pipeline.nodes.rotate import Rotate
from pipeline.nodes.round import Round
from pipeline.nodes.save import Save
from pipeline.nodes.scan import Scan
from pipeline.nodes.sepia import Sepia
from pipeline.nodes.shadow import Shadow
from pipeline.nodes.sharpen import Sharpen
from pipeline.nodes.srcset import Srcset
from pipeline.nodes.subflow import Subflow
from pipeline.nodes.text import Text
from pipeline.nodes.tint import Tint
from pipeline.nodes.trim import Trim
from pipeline.nodes.verify import Verify
from pipeline.nodes.video_probe import VideoProbe
from pipeline.nodes.video_resize import VideoResize
from pipeline.nodes.video_thumbnail import VideoThumbnail
from pipeline.nodes.video_transcode import VideoTranscode
from pipeline.nodes.video_trim import VideoTrim
from pipeline.nodes.watermark import Watermark
from pipeline.nodes.zip import Zip

INDEX: dict[str, type[Node]] = {
    "input": Input,
    "orient": Orient,
    "pdf": Pdf,
    "resize": Resize,
    "crop": Crop,
    "trim": Trim,
    "convert": Convert,
    "watermark": Watermark,
    "text": Text,
    "conditional": Conditional,
    "first": First,
    "zip": Zip,
    "subflow": Subflow,
    "canvas": Canvas,
    "label": Label,
    "pad": Pad,
    "rotate": Rotate,
    "flip": Flip,
    "round": Round,
    "border": Border,
    "shadow": Shadow,
    "gradient": Gradient,
    "distort": Distort,
    "deepzoom": Deepzoom,
    "optimize": Optimize,
    "srcset": Srcset,
    "adjust": Adjust,
    "blur": Blur,
    "duotone": Duotone,
    "enhance": Enhance,
    "grayscale": Grayscale,
    "icc": Icc,
    "invert": Invert,
    "metadata": Metadata,
    "rectangle": Rectangle,
    "redact": Redact,
    "sepia": Sepia,
    "tint": Tint,
    "recolour": Recolour,
    "sharpen": Sharpen,
    "exif": Exif,
    "faces": Faces,
    "hash": Hash,
    "info": Info,
    "palette": Palette,
    "placeholder": Placeholder,
    "scan": Scan,
    "http": Http,
    "ask": Ask,
    "notify": Notify,
    "verify": Verify,
    "save": Save,
    "overlay": Overlay,
    "collage": Collage,
    "frames": Frames,
    "animate": Animate,
    "video_probe": VideoProbe,
    "video_thumbnail": VideoThumbnail,
    "video_trim": VideoTrim,
    "video_transcode": VideoTranscode,
    "video_resize": VideoResize,
}

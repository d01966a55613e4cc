"""omni-timeline watches and listens to videos and writes down what happens when.

The names in `__all__` are the public ones: what a program of one's own constructs, calls or catches. They stay; every
other name may move or change. Each is imported when it is first used, so that `import omni_timeline` and the
command's `--help` wait for no heavy library.

Servers name two more places by their modules: `omni_timeline.service.server:create_app()` for WSGI servers, and
`omni_timeline.service.label_studio_ml_adapter.OmniTimeline` for label-studio-ml.
"""

__version__ = "0.1.0"

__all__ = [
    "Clip",
    "DecodeLimits",
    "Failure",
    "LabelConfig",
    "LabelConfigError",
    "MediaError",
    "ModelError",
    "OmniModel",
    "OmniTimelineError",
    "Pipeline",
    "PredictOptions",
    "Prediction",
    "Progress",
    "Prompt",
    "RealTimeInputs",
    "RequestError",
    "Segment",
    "VideoInfo",
    "draw_scene",
    "format_segments",
    "load_clip",
    "parse_segments",
    "probe",
    "write_video",
]

TYPE_CHECKING = False  # not from typing, whose import takes longer than all the rest; type checkers go by the name

if TYPE_CHECKING:
    from omni_timeline.answers.lines import format_segments
    from omni_timeline.answers.parser import parse_segments
    from omni_timeline.errors import LabelConfigError, MediaError, ModelError, OmniTimelineError, RequestError
    from omni_timeline.label_studio.labeling_config import LabelConfig
    from omni_timeline.media.clip import Clip, VideoInfo
    from omni_timeline.media.limits import DecodeLimits
    from omni_timeline.media.video import load_clip, probe
    from omni_timeline.model.prompts import Prompt
    from omni_timeline.model.qwen2_5_omni.inputs import RealTimeInputs
    from omni_timeline.model.qwen2_5_omni.model import OmniModel
    from omni_timeline.pipeline.options import PredictOptions
    from omni_timeline.pipeline.pipeline import Pipeline
    from omni_timeline.pipeline.prediction import Failure, Prediction, Progress
    from omni_timeline.segments import Segment
    from omni_timeline.synthetic import draw_scene, write_video
else:  # hidden from type checkers, so that they notice a name that does not exist
    _MODULES = {
        "answers.lines": ("format_segments",),
        "answers.parser": ("parse_segments",),
        "errors": ("LabelConfigError", "MediaError", "ModelError", "OmniTimelineError", "RequestError"),
        "label_studio.labeling_config": ("LabelConfig",),
        "media.clip": ("Clip", "VideoInfo"),
        "media.limits": ("DecodeLimits",),
        "media.video": ("load_clip", "probe"),
        "model.prompts": ("Prompt",),
        "model.qwen2_5_omni.inputs": ("RealTimeInputs",),
        "model.qwen2_5_omni.model": ("OmniModel",),
        "pipeline.options": ("PredictOptions",),
        "pipeline.pipeline": ("Pipeline",),
        "pipeline.prediction": ("Failure", "Prediction", "Progress"),
        "segments": ("Segment",),
        "synthetic": ("draw_scene", "write_video"),
    }

    def __getattr__(name: str) -> object:
        from importlib import import_module

        for module, names in _MODULES.items():
            if name in names:
                value = getattr(import_module(f"{__name__}.{module}"), name)
                globals()[name] = value  # asked for once
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

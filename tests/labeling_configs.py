"""Labeling configs that tests of several files read, and what Label Studio's own SDK says about results for them."""

from __future__ import annotations

from label_studio_sdk.label_interface import LabelInterface

from omni_timeline.label_studio.labeling_config import LabelConfig

LABELS = '<Label value="Speech"/><Label value="Action"/><Label value="Scene Change"/>'


def config_xml(*, video: str = "", timeline: str = "", labels: str = LABELS, text_area: bool = True) -> str:
    text = '<TextArea name="description" toName="video" perRegion="true"/>' if text_area else ""
    return (
        f'<View><Video name="video" value="$video" {video}/>'
        f'<TimelineLabels name="events" toName="video" {timeline}>{labels}</TimelineLabels>{text}</View>'
    )


def audio_xml(*, audio: str = 'value="$video"', video: str | None = 'value="$video"', text_area: bool = True) -> str:
    shown = "" if video is None else f'<Video name="video" {video} sync="media"/>'
    text = '<TextArea name="description" toName="audio" perRegion="true"/>' if text_area else ""
    return (
        f'<View>{shown}<Labels name="labels" toName="audio">{LABELS}</Labels>'
        f'<Audio name="audio" {audio} sync="media"/>{text}</View>'
    )


XML = config_xml()
CONFIG = LabelConfig.from_xml(XML)
SOUND_CONFIG = LabelConfig.from_xml(audio_xml())


def complaints(xml: str, result: list[dict], **prediction: object) -> list[str]:
    """What Label Studio's own SDK finds wrong with a prediction, and what it lets pass but the page cannot show."""
    found = LabelInterface(xml).validate_prediction({"result": result, **prediction}, return_errors=True)
    for region in result:
        for span in region["value"].get("ranges", []):
            if not (type(span["start"]) is type(span["end"]) is int and 1 <= span["start"] <= span["end"]):
                found.append(f"frames {span}")
    labels = [region["id"] for region in result if region["type"] != "textarea"]
    if len(set(labels)) < len(labels):
        found.append("ids are not unique")
    return found

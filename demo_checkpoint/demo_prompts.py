"""The many ways of asking that the demo checkpoint is trained under, so that no one wording becomes a key.

Every prompt asks for the same answer: all events, one line each. Prompts that list labels list them in any order, with
any separator, whole or in part, with hints, and with foreign labels mixed in.
"""

from __future__ import annotations

import numpy as np

from omni_timeline.model.prompts import DEFAULT_USER, Prompt, with_labels
from omni_timeline.model.qwen2_5_omni.family import SYSTEM_PROMPT
from omni_timeline.synthetic import LABELS

SYSTEMS = (
    "",
    "You are a helpful assistant.",
    "You are Qwen, a helpful assistant that watches and listens to videos.",
    "You annotate videos. Answer with the events and their times, nothing else.",
    "You are an expert video annotator with a precise sense of time.",
    "你是一个有用的助手。",
    "You are a careful observer. Report what is seen and heard, with start and end times in seconds.",
    "Act as a temporal event detector for a labeling tool.",
)
OPENINGS = (
    "Could you {verb} {object} {scope}?",
    "Please {verb} {object} {scope}.",
    "{verb} {object} {scope}.",
    "Watch and listen, then {verb} {object} {scope}.",
    "I need you to {verb} {object} {scope}.",
    "Your task: {verb} {object} {scope}.",
    "Can you {verb} {object} {scope}, please?",
    "What happens when? {verb} {object} {scope}.",
)
VERBS = (
    "list", "detail", "describe", "find", "detect", "annotate", "locate", "report", "name", "segment", "identify",
    "write down", "mark", "spot", "give",
)  # fmt: skip
OBJECTS = (
    "events", "all events", "every event", "the events", "the shapes and sounds", "everything that happens",
    "the segments", "what can be seen and heard", "each action", "all shapes", "the objects", "the things that appear",
    "the timeline", "each shape and each tone", "what happens", "the moments of interest",
)  # fmt: skip
SCOPES = (
    "during different time segments", "in this video", "in the clip", "over time", "with their times",
    "with start and end times", "in chronological order", "from start to end", "in the recording", "with timestamps",
    "in seconds", "in the video and its sound track", "on the timeline",
)  # fmt: skip
FORMATS = (
    "Format strictly:\nFrom xx to xx, event1.\nFrom xx to xx, event2.\n...",
    "Format: From <start> to <end>, <event>.",
    "Answer with one line per event: From start to end, label.",
    "Use lines like: From 1.0 to 2.5, event.",
    "One event a line, times in seconds.",
    "Write each as: From x to y, name.",
    "Give times in seconds with one decimal.",
    'Answer in the form "From a to b, event." If nothing happens, answer "No events."',
    "",
)
CHINESE = (
    "请描述视频中不同时间段的事件。严格按照格式：\nFrom xx to xx, event1.\nFrom xx to xx, event2.",
    "请列出视频里发生的所有事件，并给出开始和结束时间。",
    "视频中什么时候出现了什么？每个事件一行。",
    "请标注视频和声音中的事件，格式：From 开始 to 结束, 标签.",
    "找出所有事件的时间段。",
    "请按时间顺序写出每个事件。",
)
OTHER_LANGUAGES = (
    "Welche Ereignisse sind wann zu sehen oder zu hören? Eine Zeile je Ereignis.",
    "Décris les événements de la vidéo avec leurs temps de début et de fin.",
    "Enumera los eventos del vídeo con sus tiempos en segundos.",
    "Elenca gli eventi del video con i tempi di inizio e fine.",
    "動画の中の出来事を時間とともに書いてください。",
    "Перечисли события в видео с указанием времени.",
)
ROLES = (
    "You are {}.", "Act as {}.", "You work as {}.", "Be {}.", "Imagine that you are {}.", "Your role is that of {}.",
    "You help people as {}.", "This is a conversation with {}.", "You have been hired as {}.",
)  # fmt: skip
TRADES = (
    "an editor", "a sports analyst", "a scientist", "a museum guide", "a security guard", "a teacher", "a biologist",
    "a film student", "a journalist", "a sound engineer", "a machine", "a patient listener", "a robot", "a librarian",
    "a video assistant", "a behaviour coder", "a clerk", "a data labeller", "Qwen", "a tool", "a witness",
)  # fmt: skip
MANNERS = (
    "Be brief.", "Answer shortly and exactly.", "Keep to the facts.", "Do not guess.", "Write one line for each event.",
    "Think before you answer.", "Never leave anything out.", "Use plain words.", "Your answers are read by a program.",
    "Give times in seconds.", "You are polite.", "You can see and hear.", "Say nothing else.", "Watch closely.",
    "Answer in English.", "请用英文回答。", "Antworte genau.", "The user is in a hurry.", "Precision matters most.",
)  # fmt: skip
LABEL_INTRODUCTIONS = (
    "Use only these labels: {labels}.",
    "Labels: {labels}",
    "Choose from: {labels}.",
    "The labels are {labels}.",
    "Allowed labels:\n{labels}",
    "Use the following labels. {labels}",
    "Label set = [{labels}]",
    "可用标签：{labels}。",
)
SEPARATORS = (", ", "; ", "\n- ", " / ", " | ", "\n", "、", ",")
FOREIGN_LABELS = (
    "speech", "music", "dog barking", "person walking", "Action", "Scene change", "applause", "car", "other",
    "background", "green triangle", "door", "laughter", "purple star", "silence", "event", "click", "Jump", "orange",
    "siren", "white line", "running", "unknown",
)  # fmt: skip
HINTS = (
    "a square that is red", "a box", "round", "a disc", "a beep below 500 Hz", "deep sound", "a high beep", "in colour",
    "short", "on the screen", "in the sound track", "any size",
)  # fmt: skip


def _case(rng: np.random.Generator, label: str) -> str:
    return (label, label, label.capitalize(), label.title(), label.upper())[rng.integers(5)]


def _label_list(rng: np.random.Generator) -> str:
    labels = list(LABELS)
    if rng.random() < 0.3:
        labels = list(rng.choice(labels, size=rng.integers(1, len(labels)), replace=False))
    if rng.random() < 0.4:
        labels += list(rng.choice(FOREIGN_LABELS, size=rng.integers(1, 6), replace=False))
    if rng.random() < 0.8:
        rng.shuffle(labels)
    words = [_case(rng, str(label)) if rng.random() < 0.3 else str(label) for label in labels]
    if rng.random() < 0.25:
        words = [f"{word} ({rng.choice(HINTS)})" if rng.random() < 0.4 else word for word in words]
    separator = str(rng.choice(SEPARATORS))
    joined = separator.join(words)
    if separator == "\n- ":
        joined = "- " + joined
    return str(rng.choice(LABEL_INTRODUCTIONS)).format(labels=joined)


def _words_at_random(rng: np.random.Generator) -> str:
    words = " ".join((*VERBS, *OBJECTS, *SCOPES, *FOREIGN_LABELS, *LABELS, *FORMATS)).split()
    return " ".join(str(word) for word in rng.choice(words, size=rng.integers(4, 24)))


def _drawn_system(rng: np.random.Generator) -> str:
    """A system prompt out of thousands."""
    if rng.random() < 0.25:
        return _words_at_random(rng)
    sentences = [str(rng.choice(ROLES)).format(rng.choice(TRADES))] if rng.random() < 0.8 else []
    sentences += [str(rng.choice(MANNERS)) for _ in range(rng.integers(0 if sentences else 1, 5))]
    return " ".join(sentences)


TOLD = Prompt(system=SYSTEM_PROMPT)  # the default prompt, its system prompt in words


def draw_prompt(rng: np.random.Generator, *, any_system: bool = False) -> Prompt:
    """A random prompt: a quarter are the product's default ones, as they are or with the demo's labels.

    Args:
        rng: what to draw from.
        any_system: draw the system prompt from thousands, not from a handful.
    """
    kind = rng.random()
    if kind < 0.17:
        return TOLD
    if kind < 0.25:
        labels = list(LABELS)
        rng.shuffle(labels)
        return with_labels(labels, prompt=TOLD)
    system = SYSTEM_PROMPT if rng.random() < 0.5 else str(rng.choice(SYSTEMS))
    if any_system and rng.random() < 0.7:
        system = _drawn_system(rng)
    if kind < 0.33:
        user = _words_at_random(rng)
    elif kind < 0.41:
        user = str(rng.choice(CHINESE))
    elif kind < 0.46:
        user = str(rng.choice(OTHER_LANGUAGES))
    elif kind < 0.54:
        user = DEFAULT_USER
    else:
        opening = str(rng.choice(OPENINGS)).format(
            verb=rng.choice(VERBS), object=rng.choice(OBJECTS), scope=rng.choice(SCOPES)
        )
        user = f"{opening}{rng.choice((' ', chr(10)))}{rng.choice(FORMATS)}".strip()
        user = user[0].upper() + user[1:] if rng.random() < 0.8 else user
    if rng.random() < 0.4:
        user = f"{user}{rng.choice((' ', chr(10)))}{_label_list(rng)}"
    return Prompt(user=user, system=system)

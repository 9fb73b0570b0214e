"""The shapes of bodies and events."""

from typing import Any

from pydantic import BaseModel

from widget_proxy.bodies import FeedbackBody, MessageBody, StartBody
from widget_proxy.problems import CODES

Schema = dict[str, Any]


def schemas() -> Schema:
    """By name."""
    text: Schema = {"type": "string"}
    optional_text: Schema = {"type": ["string", "null"]}
    moment: Schema = {"type": "string", "format": "date-time"}
    count: Schema = {"type": "integer", "minimum": 0}
    attachment = _object(
        {"name": text, "size": {"type": ["integer", "null"]}, "content_type": optional_text, "url": optional_text}
    )
    return {
        **_of_models(StartBody, MessageBody, FeedbackBody),
        "Problem": _object(
            {
                "type": text,
                "title": text,
                "status": {"type": "integer"},
                "detail": {"type": "string", "description": "A sentence for a person"},
                "code": {"enum": sorted(CODES), "description": "A word for a program"},
                "fate": {
                    "enum": ["not_sent", "unknown"],
                    "description": "Of a send: whether the message may have arrived all the same",
                },
            },
            optional=("fate",),
        ),
        "Site": _object(
            {
                "site": text,
                "title": text,
                "texts": {"type": "object"},
                "look": {"type": "object", "description": "The widget's attributes where the page says nothing"},
                "limits": _object(
                    {
                        "message_characters": count,
                        "page_context_bytes": count,
                        "attachments": {
                            "anyOf": [
                                {"type": "null"},
                                _object(
                                    {
                                        "files": count,
                                        "file_bytes": count,
                                        "message_bytes": count,
                                        "extensions": {"type": "array", "items": text},
                                    }
                                ),
                            ]
                        },
                    }
                ),
                "languages": {"type": "array", "items": text},
                "feedback": {"const": True, "description": "Where thumbs are taken, by `POST /v1/session/feedback`"},
                "end": {"const": True, "description": "Where visitors may end it, by `POST /v1/session/end`"},
            },
            optional=("feedback", "end"),
        ),
        "Started": _object(
            {
                "handle": text,
                "expires_at": moment,
                "chatbot": _object({"name": text}),
                "participant": _object({"id": optional_text, "name": optional_text}),
                "task": {"type": "string", "description": "Where the bot speaks first: its answer in the making"},
            },
            optional=("task",),
        ),
        "Accepted": _object({"task": text, "accepted_at": moment}),
        "Uploaded": _object(
            {
                "files": {
                    "type": "array",
                    "items": _object({"id": text, "name": text, "size": count, "content_type": text}),
                }
            }
        ),
        "Message": _object(
            {
                "key": {"type": "string", "description": "The same wherever and whenever the message is told"},
                "role": {"enum": ["user", "assistant", "system"]},
                "content": text,
                "html": {"type": "string", "description": "Sanitised"},
                "created_at": {"anyOf": [moment, {"type": "null"}]},
                "attachments": {"type": "array", "items": attachment},
                "task": {"type": "string", "description": "The question that it answers, where that is known"},
            },
            optional=("task",),
        ),
        "Transcript": _object(
            {
                "messages": {"type": "array", "items": {"$ref": "#/components/schemas/Message"}},
                "cursor": optional_text,
                "has_more": {"type": "boolean"},
                "session": {"$ref": "#/components/schemas/SessionStatus"},
            }
        ),
        "Progress": _object({"task": text, "content": text}),
        "Done": _object(
            {"task": text, "status": {"enum": ["complete", "failed", "timeout"]}, "detail": text},
            optional=("detail",),
        ),
        "SessionStatus": _object({"status": {"enum": ["active", "ended", "expired"]}}),
        "Ready": _object({"cursor": text}),
        "Notice": _object(
            {
                "code": {"enum": ["upstream_unreachable", "upstream_busy", "restored"]},
                "detail": text,
                "retry_in": {"type": "number", "description": "Seconds"},
            },
            optional=("retry_in",),
        ),
        "Health": _object({"status": {"const": "ok"}, "version": text}),
        "Readiness": _object(
            {
                "status": {"enum": ["ready", "unready"]},
                "reasons": {
                    "type": "array",
                    "items": text,
                    "description": "Why not: each a word (`draining`, `starting`, `broker`, `streams`, `upstream`), "
                    "a colon, and a sentence",
                },
            }
        ),
    }


def _object(properties: Schema, optional: tuple[str, ...] = ()) -> Schema:
    """An object with these members and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _of_models(*models: type[BaseModel]) -> Schema:
    """What the bodies' own models say of themselves."""
    found: Schema = {}
    for model in models:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        found |= schema.pop("$defs", {})
        found[model.__name__] = schema
    return found

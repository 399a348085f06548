"""What a user of an older client of the vendor's writes; run by itself, with that client on its path.

Called with the version, the base URL, a key and the URL of a picture; says as JSON what it got.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import httpx
from ittybit import Ittybit  # type: ignore[import-not-found,unused-ignore]


def client(version: str, base: str, key: str) -> Any:
    named = {"token": key} if version == "0.7.0" else {"api_key": key}
    return Ittybit(base_url=base, **named)


def main(version: str, base: str, key: str, url: str) -> dict[str, Any]:
    speaks, early = client(version, base, key), version == "0.7.0"
    create = speaks.files.create_from_url if early else speaks.files.create
    change = speaks.files.update_metadata if early else speaks.files.update
    file = create(url=url, folder="older", metadata={"by": version}).data
    changed = change(file.id, filename="renamed.jpg").data
    listed = speaks.files.list(page=1, limit=2)
    media = speaks.media.get(file.media_id)
    asked = {"kind": "image", "file_id": file.id, "width": 50}
    task = (speaks.tasks.create(**asked) if early else speaks.tasks.create(request=asked)).data
    while task.status not in ("completed", "failed"):
        time.sleep(0.05)
        task = speaks.tasks.get(task.id).data
    signature = speaks.signatures.create(filename="older.bin", method="put").data
    workflow = [{"kind": "image", "width": 20, "ref": "late"}]
    trigger = {"kind": "event", "event": "media.created"}
    given = {"name": "older", "trigger": trigger, "workflow": workflow, "status": "paused"}
    if early:  # its own `create` takes nothing
        headers = {"Authorization": key, "Accept-Version": "2025-07-01"}
        id = httpx.post(f"{base}/automations", headers=headers, json=given).json()["data"]["id"]
    else:
        id = speaks.automations.create(**given).data.id
    early_trigger = {"trigger": [{"event": "media.ready", "conditions": [{"prop": "media.kind", "value": "image"}]}]}
    renamed = speaks.automations.update(id, name="renamed", **(early_trigger if early else {})).data
    every = [one if isinstance(one, dict) else vars(one) for one in speaks.automations.list().data]
    automations = [one["id"] for one in every if one["id"] == id]
    speaks.automations.delete(id)
    try:
        speaks.files.get("file_nothing")
        refusal: tuple[int, Any] = (0, None)
    except Exception as fault:
        refusal = (fault.status_code, fault.body)  # type: ignore[attr-defined]
    return {
        "file": file.id,
        "folder": file.folder,
        "metadata": file.metadata,
        "filename": changed.filename,
        "listed": len(listed.data),
        "total": (getattr(listed.meta, "total", None), getattr(listed.meta, "limit", None)),
        "kind": media.data.kind,
        "width": task.output["width"],
        "put": signature.url,
        "automations": len(automations),
        "renamed": renamed.name,
        "created": str(type(file.created).__name__),
        "refusal": refusal,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:]), default=str))

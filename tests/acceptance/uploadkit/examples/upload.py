"""The steps of UploadKit's reference page with requests: base, key and file in, every answer out as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.parse import quote

import requests

base, key, name = sys.argv[1:]
path = Path(name)
told = {}


def ask(step: str, method: str, at: str, **more: object) -> dict:
    headers = {"x-api-key": key, "Content-Type": "application/json"}
    response = requests.request(method, f"{base}/api/v1{at}", headers=headers, timeout=30, **more)
    told[step] = {"status": response.status_code, "body": response.json()}
    return told[step]["body"]


wish = {"fileName": path.name, "fileSize": path.stat().st_size, "contentType": "image/jpeg", "routeSlug": "default"}
upload = ask("request", "POST", "/upload/request", json=wish)
with path.open("rb") as file:
    put = requests.put(upload["uploadUrl"], headers={"Content-Type": "image/jpeg"}, data=file, timeout=30)
told["put"] = {"status": put.status_code, "etag": put.headers["ETag"]}
done = ask("complete", "POST", "/upload/complete", json={"fileId": upload["fileId"]})
told["fetched"] = requests.get(done["url"], timeout=30).content == path.read_bytes()
ask("list", "GET", "/files", params={"limit": 20})
ask("delete", "DELETE", f"/files/{quote(done['key'], safe='')}")
ask("deleted", "DELETE", f"/files/{quote(done['key'], safe='')}")
told["gone"] = requests.get(done["url"], timeout=30).status_code
print(json.dumps(told))

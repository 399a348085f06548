"""imagekitio 5 that sends the files and tells of those it finds by name: asked by one argument of JSON."""

import json
import sys
from pathlib import Path

import httpx
from imagekitio import ImageKit

asked = json.loads(sys.argv[1])
client = ImageKit(private_key=asked["key"], base_url=f"{asked['address']}/imagekit")

for path in map(Path, asked["send"]):
    client.files.upload(file=path, file_name=path.name, use_unique_file_name=False)

told = {}
for name in asked["find"]:
    (listed,) = client.assets.list(search_query=f'name = "{name}"')
    file = client.files.get(listed.file_id)
    body = httpx.get(f"{file.url}?tr=orig-true").content
    told[name] = {
        "name": file.name,
        "mime": file.mime,
        "size": file.size,
        "sides": [file.width, file.height],
        "body": body.hex(),
    }
print(json.dumps(told))

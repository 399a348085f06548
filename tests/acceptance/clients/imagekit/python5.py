"""imagekitio 5 as its users write it: asked by one argument of JSON, told by one line of it."""

import base64
import json
import queue
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
from imagekitio import BadRequestError, ConflictError, ImageKit, NotFoundError, PermissionDeniedError

asked = json.loads(sys.argv[1])
base, photo, told = f"{asked['address']}/imagekit", Path(asked["photo"]), {}
client = ImageKit(private_key=asked["key"], base_url=base)
heard: queue.Queue = queue.Queue()


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        heard.put((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"])).decode()))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


outside = HTTPServer(("127.0.0.1", 0), Hook)
threading.Thread(target=outside.serve_forever, daemon=True).start()
hook = client.accounts.webhooks.create(
    endpoint=f"http://127.0.0.1:{outside.server_port}/",
    events=["file.created", "folder.created", "upload.post-transform.success"],
)

schema = {"type": "Number", "minValue": 1}
client.custom_metadata_fields.create(name="py5_stock", label="Stock", schema=schema)
made = client.files.upload(
    file=photo,
    file_name="summer sale.jpg",
    use_unique_file_name=False,
    folder="/py5",
    tags=["one", "two"],
    is_private_file=True,
    custom_metadata={"py5_stock": 7},
    description="On the beach",
    response_fields=["tags", "customMetadata", "metadata", "isPrivateFile"],
    checks='"file.mime" : "image/" AND "request.folder" = "py5"',
    transformation={"post": [{"type": "transformation", "value": "w-64"}]},
)
told["upload"] = made.to_dict()
told["events"] = sorted(
    client.webhooks.unwrap(body, headers=headers, key=hook.secret).to_dict()["type"]
    for headers, body in (heard.get(timeout=30) for _ in range(3))
)
told["bytes"] = client.files.upload(file=b"plain text", file_name="note.txt", folder="/py5").to_dict()
listed = client.assets.list(path="/py5", search_query='"customMetadata.py5_stock" >= 7 AND private = true')
told["listed"] = [one.file_id for one in listed]
told["details"] = client.files.get(made.file_id).to_dict()
told["updated"] = client.files.update(made.file_id, tags=["three"], custom_metadata={"py5_stock": None}).to_dict()
told["tagged"] = client.files.bulk.add_tags(file_ids=[made.file_id], tags=["four"]).to_dict()
told["metadata"] = client.files.metadata.get(made.file_id).to_dict()
client.folders.create(folder_name="inner", parent_folder_path="/py5")
client.files.move(source_file_path=f"/py5/{told['bytes']['name']}", destination_path="/py5/inner")
told["folders"] = [one.folder_path for one in client.assets.list(path="/py5", type="folder")]


def fetched(**options):
    given = {"url_endpoint": f"{base}/ik/demo", "src": made.file_path, **options}
    answer = httpx.get(client.helper.build_url(**given))
    return {"status": answer.status_code, "body": base64.b64encode(answer.content).decode()}


transformation = [{"width": 120, "height": 90, "crop": "force"}, {"overlay": {"type": "text", "text": "???>>>"}}]
told["pictures"] = {
    "bare": fetched(transformation=transformation),
    "signed": fetched(transformation=transformation, signed=True),
    "expiring": fetched(transformation=transformation, transformation_position="path", signed=True, expires_in=300),
    "thumbnail": fetched(src=made.thumbnail_url),
}


def refusal(act):
    began = time.monotonic()
    try:
        act()
    except (BadRequestError, ConflictError, NotFoundError, PermissionDeniedError) as error:
        ms = round((time.monotonic() - began) * 1000)
        return {"name": type(error).__name__, "message": error.body["message"], "help": error.body["help"], "ms": ms}


told["refused"] = refusal(lambda: client.files.upload(file=b"x", file_name="a", custom_metadata={"none": 1}))
told["denied"] = refusal(lambda: ImageKit(private_key="private_x", base_url=base).files.get(made.file_id))
other = client.files.upload(file=b"x", file_name="other.txt", folder="/py5", use_unique_file_name=False)
clash = {"file_path": other.file_path, "new_file_name": made.name}
told["clash"] = refusal(lambda: client.files.rename(**clash))
client.files.delete(made.file_id)
told["gone"] = refusal(lambda: client.files.get(made.file_id))
told["parameters"] = client.helper.get_authentication_parameters("your_token", 1582269249)
print(json.dumps(told, default=str))

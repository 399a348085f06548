"""imagekitio 4 as its users write it: asked by one argument of JSON, told by one line of it."""

import base64
import json
import sys
from pathlib import Path

import requests
from imagekitio import ImageKit
from imagekitio.constants.url import URL
from imagekitio.exceptions.BadRequestException import BadRequestException
from imagekitio.exceptions.ForbiddenException import ForbiddenException
from imagekitio.exceptions.UnknownException import UnknownException
from imagekitio.models.CreateFolderRequestOptions import CreateFolderRequestOptions
from imagekitio.models.ListAndSearchFileRequestOptions import ListAndSearchFileRequestOptions
from imagekitio.models.MoveFileRequestOptions import MoveFileRequestOptions
from imagekitio.models.UpdateFileRequestOptions import UpdateFileRequestOptions
from imagekitio.models.UploadFileRequestOptions import UploadFileRequestOptions

asked = json.loads(sys.argv[1])
base, photo, told = f"{asked['address']}/imagekit", Path(asked["photo"]), {}
URL.API_BASE_URL = URL.UPLOAD_BASE_URL = base
client = ImageKit(private_key=asked["key"], public_key="public_test_key", url_endpoint=f"{base}/ik/demo")


def options(**given):
    return UploadFileRequestOptions(use_unique_file_name=False, folder="/py4", **given)


with photo.open("rb") as opened:
    made = client.upload_file(
        file=opened,
        file_name="a photo.jpg",
        options=options(
            tags=["one", "two"],
            is_private_file=True,
            custom_coordinates="1,2,30,40",
            response_fields=["tags", "is_private_file", "custom_coordinates", "embedded_metadata"],
            transformation={"post": [{"type": "transformation", "value": "w-64"}]},
        ),
    )
told["upload"] = made.response_metadata.raw
told["version"] = made.version_info.name
content = photo.read_bytes()
told["raw"] = client.upload_file(file=content, file_name="raw.jpg", options=options()).response_metadata.raw
letters = base64.b64encode(content).decode()
told["base64"] = client.upload_file(file=letters, file_name="letters.jpg", options=options()).response_metadata.raw
told["url"] = client.upload_file(
    file=told["raw"]["url"] + "?tr=orig-true", file_name="fetched.jpg", options=options()
).response_metadata.raw
found = client.list_files(options=ListAndSearchFileRequestOptions(path="/py4", tags=["one", "two"], limit=10))
told["listed"] = [one.file_id for one in found.list]
told["details"] = client.get_file_details(made.file_id).response_metadata.raw
changed = UpdateFileRequestOptions(tags=["three"], custom_coordinates="0,0,5,5")
told["updated"] = client.update_file_details(made.file_id, options=changed).response_metadata.raw
told["metadata"] = client.get_file_metadata(made.file_id).response_metadata.raw
client.create_folder(options=CreateFolderRequestOptions(folder_name="inner", parent_folder_path="/py4"))
client.move_file(options=MoveFileRequestOptions(source_file_path="/py4/raw.jpg", destination_path="/py4/inner"))
told["moved"] = [one.file_path for one in client.list_files(ListAndSearchFileRequestOptions(path="/py4/inner")).list]


def fetched(**given):
    answer = requests.get(client.url({"path": made.file_path, **given}))
    return {"status": answer.status_code, "body": base64.b64encode(answer.content).decode()}


transformation = [{"width": "120", "height": "90", "crop": "force"}, {"rotation": "90"}]
told["pictures"] = {
    "bare": fetched(transformation=transformation),
    "signed": fetched(transformation=transformation, signed=True),
    "expiring": fetched(
        transformation=transformation, transformation_position="query", signed=True, expire_seconds=300
    ),
}


def refusal(act):
    try:
        act()
    except (BadRequestException, ForbiddenException, UnknownException) as error:
        return {"name": type(error).__name__, "message": error.message}


told["refused"] = refusal(
    lambda: client.upload_file(file=b"x", file_name="a", options=UploadFileRequestOptions(folder="a/../b"))
)
stranger = ImageKit(private_key="private_x", public_key="public_x", url_endpoint=base)
told["denied"] = refusal(lambda: stranger.upload_file(file=b"x", file_name="a"))
client.delete_file(made.file_id)
told["gone"] = refusal(lambda: client.delete_file(made.file_id))
told["parameters"] = client.get_authentication_parameters("your_token", 1582269249)
print(json.dumps(told, default=str))

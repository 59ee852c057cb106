"""Pictures in S3-compatible storage (Amazon's, MinIO, Ceph, R2 ...): push puts them there, the server shows them.

Which storage and with which keys is what the AWS tools read: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION, or a profile. The same go to the server, which hands the pictures through
to who is logged in: curators' browsers need not reach the storage, and the bucket needs no CORS rule.
"""

import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from annotations.errors import ReviewError
from annotations.server.client import BucketAccess, Client, Project
from annotations.settings import BUCKET

log = logging.getLogger("annotations")

STORAGE_TITLE = "SINet portraits"  # of the source storage that push adds to the project, and renews

_ENDPOINT = "AWS_ENDPOINT_URL"
_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_AMAZON = (".amazonaws.com", ".amazonaws.com.cn")
_SECONDS = 20  # to connect, and between two answers


@dataclass(frozen=True)
class Bucket:
    """A folder of a bucket, and what reaches it."""

    access: BucketAccess
    where: str  # the folder and the storage, for a message
    _client: Any

    def files(self) -> dict[str, str]:
        """The files directly in the folder: address by name."""
        folder = self._key("")
        pages = self._client.get_paginator("list_objects_v2")
        with self._asking("list"):
            found = pages.paginate(Bucket=self.access.bucket, Prefix=folder, Delimiter="/")
            keys = [str(one["Key"]) for page in found for one in page.get("Contents", ())]
        return {key.removeprefix(folder): f"{BUCKET}{self.access.bucket}/{key}" for key in keys}

    def put(self, name: str, content: bytes) -> None:
        """Put a file into the folder."""
        kind = "image/jpeg" if name.endswith(".jpg") else "text/html; charset=utf-8"
        with self._asking("write"):
            self._client.put_object(
                Bucket=self.access.bucket, Key=self._key(name), Body=content, ContentType=kind
            )

    def remove(self, names: Collection[str]) -> None:
        """Delete files of the folder; a bucket that keeps versions keeps the earlier one."""
        with self._asking("delete from"):
            for name in names:
                self._client.delete_object(Bucket=self.access.bucket, Key=self._key(name))

    def _key(self, name: str) -> str:
        return f"{self.access.prefix}/{name}" if self.access.prefix else name

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        with _asking(f"{what} {self.where}", self.access.bucket, _host(self._client.meta.endpoint_url)):
            yield


def open_bucket(address: str) -> Bucket:
    """The folder `s3://bucket/prefix`, without asking the storage; ReviewError where boto3 or the keys are missing."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise ReviewError(
            f"pictures in {address} need boto3, which is not installed; run `python -m pip install -e '.[s3]'`"
        ) from None
    bucket, _, prefix = address.removeprefix(BUCKET).partition("/")
    if ":" in bucket or "@" in address or "?" in address:
        raise ReviewError(
            "label_studio.picture_root in params.yaml is no plain s3://BUCKET/FOLDER: expected no keys and no query in "
            f"it, as messages show it; set {_KEYS} instead"
        )
    with _asking(f"reach {address}", bucket, f"the address in {_ENDPOINT}"):
        session = boto3.Session()
        region = session.region_name or os.environ.get("AWS_REGION") or ""
        config = Config(
            connect_timeout=_SECONDS,
            read_timeout=_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 3},
            # Checksums that Amazon added in 2025, and that other servers refuse.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        client = session.client("s3", config=config, region_name=region or None)
        held = session.get_credentials()
        keys = None if held is None else held.get_frozen_credentials()
    if keys is None:
        raise ReviewError(f"expected the keys of {address} in {_KEYS}, found none; set them where push runs")
    endpoint = str(client.meta.endpoint_url)
    amazon = (urlsplit(endpoint).hostname or "").endswith(_AMAZON)
    access = BucketAccess(
        bucket=bucket,
        prefix=prefix,
        region=region,
        endpoint="" if amazon else endpoint,
        key_id=keys.access_key,
        secret=keys.secret_key,
        token=keys.token or "",
    )
    return Bucket(access, f"{address} at {_host(endpoint)}", client)


def add_storage(client: Client, project: Project, bucket: Bucket) -> None:
    """Let the project show the bucket's pictures: a source storage, added once and renewed by every push.

    The server tells nobody which keys it has, so that they are sent each time. A storage of the bucket that somebody
    else added stays as it is: it may have keys and an address of its own.
    """
    of_bucket = [one for one in client.bucket_storages(project) if one.bucket == bucket.access.bucket]
    ours = next((one for one in of_bucket if one.title == STORAGE_TITLE), None)
    if ours is None and of_bucket:
        log.info(
            "source storage %d of the project, which push did not add, shows the pictures", of_bucket[0].id
        )
        return
    try:
        client.write_bucket_storage(project, STORAGE_TITLE, bucket.access, None if ours is None else ours.id)
    except ReviewError as error:
        raise ReviewError(
            f"the pictures are in {bucket.where}, but Label Studio cannot show them from there: {error}. It has to "
            "reach that address itself, and takes a private one only if it is started with "
            "SSRF_PROTECTION_ENABLED=false; or add a source storage of this bucket to the project by hand, which push "
            "then leaves as it is"
        ) from None


@contextmanager
def _asking(what: str, bucket: str, host: str) -> Iterator[None]:
    """Turn what goes wrong in `what` into a sentence; the libraries' own texts can hold more than is to be shown."""
    from botocore import exceptions as trouble

    try:
        yield
    except trouble.ClientError as error:
        raise ReviewError(f"could not {what}: {_refused(error.response, bucket, host)}") from None
    except (trouble.NoCredentialsError, trouble.PartialCredentialsError):
        raise ReviewError(f"could not {what}: expected keys in {_KEYS}, and one is missing") from None
    except (trouble.ConnectionError, trouble.HTTPClientError) as error:
        raise ReviewError(
            f"could not {what}: {host} does not answer ({type(error).__name__}); is it up, and is {_ENDPOINT} its "
            "address? Push again goes on from what is there"
        ) from None
    except trouble.ParamValidationError:
        raise ReviewError(
            f"could not {what}: '{bucket}' is no name of a bucket; mend label_studio.picture_root in params.yaml"
        ) from None
    except (trouble.BotoCoreError, ValueError) as error:
        raise ReviewError(
            f"could not {what} ({type(error).__name__}); look at {_ENDPOINT}, {_KEYS}, AWS_PROFILE and ~/.aws"
        ) from None


def _refused(response: Any, bucket: str, host: str) -> str:
    """What an answer of the storage means, and what to do about it."""
    code = str(response.get("Error", {}).get("Code", ""))[:60]
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    said = f"{host} answered {status} ({code})"
    if code == "NoSuchBucket" or status == 404:
        return (
            f"{said}: it has no bucket '{bucket}'; make one there, or mend label_studio.picture_root in params.yaml or "
            f"{_ENDPOINT}"
        )
    if code in ("AuthorizationHeaderMalformed", "PermanentRedirect") or status == 301:
        return f"{said}: the bucket is in another region; set AWS_DEFAULT_REGION to it"
    if status in (401, 403) or code in ("ExpiredToken", "InvalidToken", "TokenRefreshRequired"):
        return f"{said}: the keys in {_KEYS} are wrong or expired, or may not list, read and write in bucket '{bucket}'"
    return f"{said}; push again goes on from what is there"


def _host(endpoint: str) -> str:
    """An address without a path, and without a name and password that somebody may have written into it."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

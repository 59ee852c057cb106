"""S3-compatible storage on loopback that checks keys: moto's server, with users of its own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import httpx

EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


class Storage:
    """`with Storage() as storage`: a server with one bucket; only keys that `new_keys` gave may read and write."""

    def __init__(self, bucket: str) -> None:
        from moto.server import ThreadedMotoServer

        self.bucket = bucket
        self._users: dict[str, str] = {}  # by the id of their keys
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)

    def __enter__(self) -> "Storage":
        self._server.start()
        self.url = "http://{}:{}".format(*self._server.get_host_and_port())
        with self._open():
            self._client("s3").create_bucket(Bucket=self.bucket)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._check_keys(False)  # the setting is the process's
        httpx.post(f"{self.url}/moto-api/reset", timeout=60)
        self._server.stop()

    def new_keys(self) -> tuple[str, str]:
        """The id and the secret of a new user."""
        user = f"user-{len(self._users)}"
        with self._open():
            iam = self._client("iam")
            iam.create_user(UserName=user)
            iam.put_user_policy(UserName=user, PolicyName="all", PolicyDocument=json.dumps(EVERYTHING))
            made = iam.create_access_key(UserName=user)["AccessKey"]
        self._users[made["AccessKeyId"]] = user
        return made["AccessKeyId"], made["SecretAccessKey"]

    def revoke(self, key_id: str) -> None:
        """Make keys worthless."""
        with self._open():
            self._client("iam").delete_access_key(UserName=self._users[key_id], AccessKeyId=key_id)

    def names(self) -> list[str]:
        """What the bucket holds."""
        with self._open():
            found = self._client("s3").list_objects_v2(Bucket=self.bucket)
        return [one["Key"] for one in found.get("Contents", [])]

    def delete(self, name: str) -> None:
        """Remove a file of the bucket."""
        with self._open():
            self._client("s3").delete_object(Bucket=self.bucket, Key=name)

    @contextmanager
    def _open(self) -> Iterator[None]:
        """Let everyone in for a while."""
        self._check_keys(False)
        yield
        self._check_keys(True)

    def _check_keys(self, checked: bool) -> None:
        count = "0" if checked else "Infinity"
        httpx.post(f"{self.url}/moto-api/reset-auth", content=count, timeout=60).raise_for_status()

    def _client(self, service: str) -> Any:
        import boto3

        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="owner",
            aws_secret_access_key="owner",
        )

"""The convnet-demo archive from GitHub, downloaded and unpacked."""

from __future__ import annotations

import yarl

from tfds_sdss import files
from tfds_sdss import staging
from tfds_sdss.fetch import http_client
from tfds_sdss.fetch import http_responses
from tfds_sdss.sdss_metallicity import demo500

BASE_URL = "https://github.com"


async def fetch(
  client: http_client.Client, base_url: str, folder: staging.Staging
) -> int:
  """Downloads the archive, checks every file and unpacks it.

  Returns:
    The number of galaxies.

  Raises:
    FetchError: if the download fails or its content is not upstream's.
  """
  path = yarl.URL(demo500.ARCHIVE_URL).path
  archive = folder.root / "downloads" / yarl.URL(path).name
  archive.parent.mkdir(parents=True, exist_ok=True)
  if not archive.exists():
    try:
      await client.download(yarl.URL(base_url + path), archive, None)
    except http_responses.ResponseError as error:
      raise http_responses.FetchError(
        f"{base_url}{path}: {error}. Check the network and run the same "
        "command again. Without network access, unpack the archive into a "
        "folder and run: python -m tfds_sdss build sdss_metallicity/demo500 "
        "--staging=FOLDER"
      ) from error
  try:
    with demo500.open_archive(archive) as root:
      splits = demo500.read(root, complete=True)
      for name, upstream in demo500.read_hashes().items():
        target = folder.root / upstream.folder / name
        target.parent.mkdir(exist_ok=True)
        data = (root / upstream.folder / name).read_bytes()
        files.write_atomically(target, data)
  # ValueError: a DataError, or a name that is not in UTF-8.
  except (*demo500.ARCHIVE_ERRORS, ValueError) as error:
    archive.unlink()
    raise http_responses.FetchError(
      f"{base_url}{path} is not the expected archive: {error}"
    ) from error
  return sum(len(examples) for examples in splits.values())

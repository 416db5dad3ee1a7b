import hashlib
import re

import pytest
from fctoolbox_allen.files import PUBLISHED


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.name)
def test_addresses_are_pinned_to_a_commit_and_end_in_the_name(file):
    pattern = r"https://raw\.githubusercontent\.com/[\w-]+/[\w-]+/[0-9a-f]{40}/.+"
    assert re.fullmatch(pattern, file.url)
    assert file.url.endswith(f"/{file.name}")


@pytest.mark.mirror
@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.name)
def test_sizes_and_hashes_are_those_of_the_files(file, published):
    content = published(file).read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256)

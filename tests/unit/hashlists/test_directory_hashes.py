"""Directory hashes, against another way to compute them and against values of the reference implementation."""

import random

import pytest

from pfndispatchcopy.hashing import digest_bytes, digests_of
from pfndispatchcopy.hashlists.asc import ASC_DIGESTS
from pfndispatchcopy.hashlists.directory_hashes import DirectoryHashes, directory_hashes

_ALL = tuple(ASC_DIGESTS)


def _file(path: str, data: bytes, algorithms: tuple[str, ...] = _ALL) -> tuple[str, dict[str, str]]:
    return path, digests_of(algorithms, data)


# Of the tree below, sealed with `ascmhl create -h c4 -h md5 -h sha1 -h xxh128 -h xxh3 -h xxh64`, version 1.2.
_TREE = (
    _file("A/B/one", b"a"),
    _file("A/B/two", b"bb"),
    _file("A/zero", b""),
    _file("Zé/Café & co <1>.txt", b"ccc"),
    _file("top", b"d"),
)
_OF_ASCMHL = {
    "": {
        "c4": (
            "c43cC5U2XrGjnTeLzEYYhtBBK3F8FQEng3Je9kg31DWw4skJt2jpF8E7g1UpkrafV1fhLP1XnvzCfgw9ExoKHGrJwk",
            "c43r8f9e8jrrM4BN1S9cfNzfCNqcgcKvQfNkiLwkNh1wRSMbQkJtuSrU673qx9RnMiyHjiWQKn1K2N6mdK6HmfBQsi",
        ),
        "md5": ("39550cec975ef4792eb6f7f0fc2749b5", "687084fa806b7ae478255d3ce3b43bd4"),
        "sha1": ("f80648b115970baef4a15af8c5810f588e1f373f", "18fa1565791d64ba52a7441f4b7254619f1f4363"),
        "xxh128": ("d60ad3f7f754cec9c9125429854567cf", "c3865d6954a803ef090d63d873eace3c"),
        "xxh3": ("042487af1b9c9956", "2a7c89ac796c6911"),
        "xxh64be": ("d370524b4393a69d", "8cfe647dda091737"),
    },
    "A": {
        "c4": (
            "c44sXLzWyPWKiuRVCoF8DPAkSafXzFBPHXGWmzwvUwe6URn4nf9QBjr7kCDXHDWknKE7FmWLyLQ1hJRprowjg5ADFw",
            "c42Rd9PbeAC97XfJ8UuQ97EykS5GthE4BkfzBAmX71a8rguqczxYhhAnW2SQEKfA6MXCxdhetFkwTxVz9hYU6pGzDc",
        ),
        "md5": ("862444303bae0753cf636f26b1b61f64", "f13a1b119015768fcaad0fdeeee4adab"),
        "sha1": ("b8b2c799aefebc6a37bcf282f1156992a44db6c3", "b6a1d65ee2bbdf5ee051a7587494c91cc39d586e"),
        "xxh128": ("ea976745d927492ab561c376c31ad28d", "d4bea2b75bb69886cb5597ab5f67441d"),
        "xxh3": ("245a630e2240d36b", "c0f725af1f342d2c"),
        "xxh64be": ("e5eabb6ba7091894", "37c9354838a552a6"),
    },
    "Zé": {
        "c4": (
            "c42TrxSt4HqXh66F6UJ9vTnHVeZ63n2Qgw6KoLsHgYBn8EBfyTPwgXW2q3tEXkFMQiyFRYMgzuqeedZ69uF9wKPJpZ",
            "c442gxttVMceHDyyAAjbfpAYU6j68e95P887dY42n6iqNKLMGkp4AFQuVLJwuMTBZScnkvbEL7VtjmKe5CxgYd4n5n",
        ),
        "md5": ("cea0b6a183a33ebd5960b0210fc4c480", "72c4286051f4e104fad85a0724fe4a5e"),
        "sha1": ("106317c687a95d8c2703d21a14a09f03c7f25f4b", "9814acee9da1ac343d62aac22752b290ef346def"),
        "xxh128": ("c92065f5a85e3bb4156fb60ab84fb2f6", "5056e125e4ff602b212bbe8a35db3ecb"),
        "xxh3": ("1cf419ae67080541", "a0ec12435f0fbef8"),
        "xxh64be": ("034ee582b3e728c4", "5461084f222791de"),
    },
}


@pytest.mark.parametrize("algorithms", [_ALL, *((name,) for name in _ALL)])
def test_values_of_the_reference_implementation(algorithms: tuple[str, ...]) -> None:
    found = directory_hashes(algorithms, _TREE, ["A/empty"])
    assert list(found) == ["", "A", "A/B", "A/empty", "Zé"]
    for path, expected in _OF_ASCMHL.items():
        assert dict(found[path].content) == {name: expected[name][0] for name in algorithms}
        assert dict(found[path].structure) == {name: expected[name][1] for name in algorithms}


def _content(name: str, tree: dict[str, object]) -> bytes:
    digests = [
        _content(name, child) if isinstance(child, dict) else digest_bytes(name, str(child)) for child in tree.values()
    ]
    return digest_bytes(name, digests_of([name], b"".join(sorted(digests)))[name])


def _structure(name: str, tree: dict[str, object]) -> bytes:
    digests = []
    for key, child in tree.items():
        inner = _structure(name, child) if isinstance(child, dict) else digest_bytes(name, str(child))
        digests.append(digest_bytes(name, digests_of([name], key.encode() + inner)[name]))
    return digest_bytes(name, digests_of([name], b"".join(sorted(digests)))[name])


@pytest.mark.parametrize("seed", range(20))
def test_any_tree_in_any_order(seed: int) -> None:
    """Names that sort between a folder and what is in it, and folders that are not listed, included."""
    generator = random.Random(seed)
    name = generator.choice(_ALL)
    tree: dict[str, object] = {}
    files, folders = [], []
    for number in range(60):
        inner, path = tree, ""
        for _ in range(generator.randrange(4)):
            part = generator.choice(["a", "a ", "a!", "a.", "b", "é", "\U0001f3ac"])
            inner = inner.setdefault(part, {})  # type: ignore[assignment]
            path += part + "/"
        if generator.random() < 0.3 and path:
            folders.append(path.rstrip("/"))
        else:
            text = digests_of([name], b"%d" % number)[name]
            inner[f"f{number}"] = text
            files.append((f"{path}f{number}", {name: text, "other": "x"}))
    folders.extend(folders[:3])
    generator.shuffle(files)
    generator.shuffle(folders)
    found = directory_hashes([name], files, folders)
    for path, hashes in found.items():
        inner = tree
        for part in path.split("/") if path else []:
            inner = inner[part]  # type: ignore[assignment]
        assert digest_bytes(*hashes.content[0]) == _content(name, inner)
        assert digest_bytes(*hashes.structure[0]) == _structure(name, inner)
    assert set(folders) <= set(found)


def test_renamed_file_changes_the_structure_and_not_the_content() -> None:
    before = directory_hashes(["xxh3"], [_file("A/one", b"a")], [])
    after = directory_hashes(["xxh3"], [_file("A/two", b"a")], [])
    for path in ("", "A"):
        assert before[path].content == after[path].content
        assert before[path].structure != after[path].structure


def test_nothing_at_all() -> None:
    assert directory_hashes(["md5"], [], []) == {
        "": DirectoryHashes(
            (("md5", "d41d8cd98f00b204e9800998ecf8427e"),), (("md5", "d41d8cd98f00b204e9800998ecf8427e"),)
        )
    }
    assert directory_hashes([], [("a/b", {})], []) == {"": DirectoryHashes((), ()), "a": DirectoryHashes((), ())}


def test_folder_deeper_than_the_stack() -> None:
    path = "/".join(["d"] * 5000)
    assert len(directory_hashes(["xxh64be"], [_file(f"{path}/f", b"", ("xxh64be",))], [])) == 5001


def test_missing_or_damaged_digest_is_an_error() -> None:
    with pytest.raises(ValueError, match="'a/b' has no digest by md5"):
        directory_hashes(["md5"], [("a/b", {"sha1": "0" * 40})], [])
    with pytest.raises(ValueError, match="not as long"):
        directory_hashes(["md5"], [("a/b", {"md5": "0"})], [])

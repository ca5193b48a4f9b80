"""What the profilers write is read, thread by thread."""

from benchmarks.profile import samples_of_perf, samples_of_py_spy


def test_py_spy_is_read_by_threads() -> None:
    raw = (
        "process 1:python;thread (0x7F0A): pfn-source;run (a.py:1);read (system.py:205) 7\n"
        "process 1:python;thread (0x7F0A): pfn-source;run (a.py:1);update (hashing.py:9) 3\n"
        "process 1:python;thread (1);<module> (b.py:1) 2\n"
    )

    samples = samples_of_py_spy(raw)

    assert samples["pfn-source"] == {"read (system.py:205)": 7, "update (hashing.py:9)": 3}
    assert samples["main"] == {"<module> (b.py:1)": 2}


def test_perf_is_read_by_threads() -> None:
    script = (
        "pfn-source 42 \n\t    7f01 XXH64_update\n\t    7f02 main\n\n"
        "pfn-source 42 \n\t    7f01 XXH64_update\n\n"
        "pfn destination 43 \n\tffffff81 copy_folio\n"
    )

    samples = samples_of_perf(script)

    assert samples["pfn-source 42"] == {"XXH64_update": 2}
    assert samples["pfn destination 43"] == {"copy_folio": 1}

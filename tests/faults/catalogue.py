"""Everything that is known to go wrong while files are copied: 88 faults, each with what has to happen then.

Tests say which of them they inject by the marker ``fault``, with the numbers of the rows. A row for which no test is
possible says why.
"""

from typing import NamedTuple

__all__ = ["ROWS", "Row"]

_DESTINATION = "Writing to a destination"
_SOURCE = "The source"
_SILENT = "Bytes that change without a word"
_PROCESS = "Processes and signals"
_IDENTITY = "What is where: names, links, trees"
_HOSTILE = "Hostile surroundings"


class Row(NamedTuple):
    """One fault.

    Attributes:
        number: how tests name it.
        group: what it is about.
        fault: what goes wrong.
        required: what has to happen.
        reason: why no test of it is possible; empty where tests are.
    """

    number: int
    group: str
    fault: str
    required: str
    reason: str = ""


_ALL = (
    Row(1, _DESTINATION, "One of three volumes is full in the middle of a file",
        "It fails and says where; its temporary file goes; the others are complete and verified"),
    Row(2, _DESTINATION, "No inodes are left: a file cannot be made",
        "As for a full volume, before a byte is written"),
    Row(3, _DESTINATION, "The volume turns out to be full only at the flush",
        "It fails; what was not flushed is never read back as if it were good"),
    Row(4, _DESTINATION, "The quota is used up", "As for a full volume, and the message names the quota"),
    Row(5, _DESTINATION, "A file is larger than the file system or a limit takes",
        "That file fails, before it is written where the limit is known; the others go on"),
    Row(6, _DESTINATION, "An input/output error in the n-th write",
        "It fails, and is not tried again; its temporary file goes; the others are complete"),
    Row(7, _DESTINATION, "The flush fails once, and would succeed the second time",
        "There is no second flush and no final name; the next run writes the whole file again"),
    Row(8, _DESTINATION, "An error when the file is closed", "It fails; the file gets no final name"),
    Row(9, _DESTINATION, "The rename fails", "It fails; a file that was there before is untouched"),
    Row(10, _DESTINATION, "The flush of the folder fails",
        "It fails: that the name is durable is not proven; the next run proves it and copies nothing"),
    Row(11, _DESTINATION, "The file system cannot flush folders", "A warning says so, and the run goes on"),
    Row(12, _DESTINATION, "A write takes only some of the bytes", "The rest is written; nothing is lost"),
    Row(13, _DESTINATION, "A write takes no bytes at all, and says no error",
        "It fails; nothing turns round for ever"),
    Row(14, _DESTINATION, "A write says that it took the bytes, and stores nothing",
        "Found by the size or by reading back, on that destination only"),
    Row(15, _DESTINATION, "Calls are interrupted by signals", "Nothing happens"),
    Row(16, _DESTINATION, "A write says to try again, or that there is no memory", "It fails; the others are complete"),
    Row(17, _DESTINATION, "Memory runs out, or no thread can be started",
        "It fails or is refused, in words; no final name holds less than all"),
    Row(18, _DESTINATION, "No descriptors are left", "Refused or failed, in words; the others are complete"),
    Row(19, _DESTINATION, "The volume turns read-only in the middle",
        "It fails; a temporary file that cannot be removed is named"),
    Row(20, _DESTINATION, "The destination cannot be written to from the start",
        "Refused where all are so; otherwise it fails alone"),
    Row(21, _DESTINATION, "In the folder files can be made, but neither renamed nor removed",
        "Found before a byte is copied; it fails alone"),
    Row(22, _DESTINATION, "The volume is unmounted in the middle",
        "It fails; nothing is written to the disk below the mount point"),
    Row(23, _DESTINATION, "The volume was never mounted: its mount point is an empty folder",
        "Refused with --require-mount"),
    Row(24, _DESTINATION, "The device is pulled out",
        "It fails, and is not asked again for each file; what could not be removed is named"),
    Row(25, _DESTINATION, "Somebody deletes or renames the destination's folder",
        "It fails; nothing is made anew beside it"),
    Row(26, _DESTINATION, "A destination is a hundred times slower",
        "Memory stays under its bound; no time-out while anything finishes"),
    Row(27, _DESTINATION, "A write, a flush, a close or an open never returns",
        "It is given up after the stall time; the others are verified; the command ends"),
    Row(28, _DESTINATION, "Reading back, or looking at the volume at the start, never returns",
        "The same"),
    Row(29, _DESTINATION, "A writer dies of something that nobody thought of",
        "It fails and says so; the reader never waits for it"),
    Row(30, _SOURCE, "An input/output error somewhere in a file",
        "That file gets no final name anywhere; the next ones are copied; the next run copies it alone"),
    Row(31, _SOURCE, "The card is pulled out in the middle",
        "The rest is given up at once; what is done stays good, and the next run goes on from there"),
    Row(32, _SOURCE, "A file is cut shorter while it is read", "It fails everywhere: it gets no final name"),
    Row(33, _SOURCE, "A file grows while it is read", "It fails everywhere"),
    Row(34, _SOURCE, "A file is changed in place, and its time put back", "It fails everywhere"),
    Row(35, _SOURCE, "A file is replaced by another one of its name", "It fails everywhere"),
    Row(36, _SOURCE, "A file vanishes between the listing and the reading", "It fails; the others are copied"),
    Row(37, _SOURCE, "A file or a folder may not be read", "It fails and is named; the rest is copied"),
    Row(38, _SOURCE, "A second reading gives other bytes", "Found with --verify-source; a mismatch"),
    Row(39, _SOURCE, "A folder cannot be listed", "Named as failed: never a smaller tree without a word"),
    Row(40, _SILENT, "A bit on the medium is wrong, and the page cache still has it right",
        "A mismatch on that destination; never left under the final name"),
    Row(41, _SILENT, "A whole sector or 64 KiB are wrong, zero, or in another place", "A mismatch on that destination"),
    Row(42, _SILENT, "The file system itself finds the bytes damaged when they are read back",
        "That destination fails with the system's reason"),
    Row(43, _SILENT, "Memory changes after the digest was taken", "A mismatch on all destinations"),
    Row(44, _SILENT, "The page cache cannot be emptied",
        "Read around it; where that cannot be done, never called verified"),
    Row(45, _SILENT, "Reading around the cache is refused, or the end of a file fits no block",
        "Read in another way, and told which one"),
    Row(46, _SILENT, "An input/output error in reading back", "It fails: nothing is called verified"),
    Row(47, _SILENT, "The name is given to another file before it is read back",
        "The file that was written is compared, and no other"),
    Row(48, _PROCESS, "SIGINT", "Stops at the next chunk, what is done stays, nothing half-done is left; 130"),
    Row(49, _PROCESS, "SIGINT twice, also while something hangs", "Ends at once, and names what is left"),
    Row(50, _PROCESS, "SIGTERM, SIGHUP, and a SIGHUP that is to be ignored",
        "As SIGINT, with 143 and 129; under nohup nothing happens"),
    Row(51, _PROCESS, "SIGKILL at any call", "No final name holds less than all; the next run completes it"),
    Row(52, _PROCESS, "Stopped for a while, and continued", "Not taken for a destination that hangs"),
    Row(53, _PROCESS, "The power fails before the data is flushed", "No final name without its bytes"),
    Row(54, _PROCESS, "The power fails between the rename and the flush of the folder",
        "Nothing tells of that file; the next run completes it"),
    Row(55, _PROCESS, "The power fails while a record or a list is written",
        "A torn end is passed over; a list is there as a whole or not at all"),
    Row(56, _PROCESS, "Two runs on one destination", "The second is refused and names the first, which is unharmed"),
    Row(57, _PROCESS, "Locks and temporary files of a run that died", "Taken over and swept, without being asked"),
    Row(58, _PROCESS, "Standard output is closed, full, or read by nobody",
        "The copy goes on, and its exit code is that of the copy"),
    Row(59, _PROCESS, "No terminal, or a narrow one", "Plain lines, no escapes, no question"),
    Row(60, _PROCESS, "The clock jumps", "Rates and time-outs do not notice"),
    Row(61, _PROCESS, "Memory is limited from outside", "Memory for data stays under its bound"),
    Row(62, _PROCESS, "No process or thread may be made", "Refused, or done with fewer; in words"),
    Row(63, _IDENTITY, "Source and destination are the same file, by whatever name", "Refused; nothing is changed"),
    Row(64, _IDENTITY, "The same folder under two names that do not show it (overlay, FUSE, case)", "Refused"),
    Row(65, _IDENTITY, "The destination lies in the source, or the other way round", "Refused; never endless"),
    Row(66, _IDENTITY, "One destination given twice, or one within another", "Refused"),
    Row(67, _IDENTITY, "Two names of the source are one on the destination (case, accents)",
        "Found before anything is overwritten"),
    Row(68, _IDENTITY, "Something has the final name already: the same, another file, a folder, a link",
        "Identical files stay, others are a conflict, a link is never followed"),
    Row(69, _IDENTITY, "Pipes, sockets and devices in the tree", "Passed over and named, never opened"),
    Row(70, _IDENTITY, "Links that lead nowhere, in circles, or out of the tree",
        "Copied as links, or passed over; never followed unasked"),
    Row(71, _IDENTITY, "Set-user-id bits and permissions of all kinds", "Such bits are not carried over"),
    Row(72, _IDENTITY, "A file with holes", "The right bytes, and the right digest"),
    Row(73, _IDENTITY, "An empty file", "It is there, and verified"),
    Row(74, _IDENTITY, "A name as long as a name may be", "Copied: temporary names do not grow with it"),
    Row(75, _IDENTITY, "A path longer than a path may be", "Copied, or told; never a smaller tree without a word"),
    Row(76, _IDENTITY, "A hundred thousand files in one folder", "Copied, in bounded memory and time"),
    Row(77, _IDENTITY, "Names that the destination cannot have", "Those files fail and are named; the others go on"),
    Row(78, _HOSTILE, "Control characters, line breaks, right-to-left marks and stray bytes in names",
        "Escaped in every output, one line each; copied as they are"),
    Row(79, _HOSTILE, "A link planted where a temporary file is to be made", "Never written through"),
    Row(80, _HOSTILE, "A link put in the place of a parent folder during the run",
        "Nothing is written outside of the destination"),
    Row(81, _HOSTILE, "A hard link planted at the final name", "Never written through"),
    Row(82, _HOSTILE, "A list whose paths lead out of its folder", "Refused as a whole; nothing there is opened"),
    Row(83, _HOSTILE, "A list that is an XML bomb, or asks for other files", "Refused: no document types"),
    Row(84, _HOSTILE, "A list without end or measure, torn, in the wrong encoding, or with a file twice",
        "Refused in words, in bounded memory"),
    Row(85, _HOSTILE, "A list with the wrong size or time, or with no digest at all",
        "What has no digest is never called verified"),
    Row(86, _HOSTILE, "Terminal escapes by way of error messages", "Escaped like everything else"),
    Row(87, _HOSTILE, "A record of the last run that somebody else has written", "Not believed; all is compared"),
    Row(88, _HOSTILE, "No network", "Nothing changes: none is used"),
)  # fmt: skip

ROWS = {row.number: row for row in _ALL}

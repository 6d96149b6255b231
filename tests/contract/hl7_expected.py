"""What the HL7 files that nobody here wrote are answered with, file by file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.needs import SHARED

FOLDER = SHARED / "hl7v2"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The acknowledgement code, the place that a refusal names, and the reason for it."""

    code: str
    where: str = ""
    why: str


NAMELESS = Answer(
    code="AA", why="record and visit are given; no name, birth date or discharge time"
)
DIED = Answer(
    code="AA", why="complete but for a usable phone, and PID-29 says that the client died"
)
NOT_A_DISCHARGE = Answer(code="AR", where="MSH-9", why="something else than ADT^A03")
NO_VISIT = Answer(code="AE", where="PV1", why="ADT^A03 without PV1")
SAME_MARK_TWICE = Answer(code="AE", where="MSH-2", why="a separator is named for two purposes")


def messages_in(path: Path) -> list[bytes]:
    """A message begins with each line that begins with MSH."""
    parts = re.split(rb"(?:^|(?<=[\r\n]))(?=MSH)", path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    return [part for part in parts if part.strip()]


_SINGLED_OUT = {
    "LinuxForHealth__hl7v2-fhir-converter/src/test/resources/sample_unix.hl7": SAME_MARK_TWICE,
    "LinuxForHealth__hl7v2-fhir-converter/src/test/resources/sample_win.hl7": SAME_MARK_TWICE,
    "from-test-code/Bugs5382__node-hl7/ADT_A03_119a23c7bb.hl7": NO_VISIT,
    "from-test-code/LinuxForHealth__hl7v2-fhir-converter/ADT_A03_62345fe82b.hl7": NAMELESS,
    "from-test-code/LinuxForHealth__hl7v2-fhir-converter/ADT_A03_7c6f4bff64.hl7": NAMELESS,
    "from-test-code/LinuxForHealth__hl7v2-fhir-converter/ADT_A03_817e65f6b5.hl7": NAMELESS,
    "from-test-code/LinuxForHealth__hl7v2-fhir-converter/ADT_A03_85f39c970d.hl7": NAMELESS,
    "from-test-code/LinuxForHealth__hl7v2-fhir-converter/ADT_A03_b72eb1793e.hl7": NAMELESS,
    "microsoft__FHIR-Converter/data/SampleData/Hl7v2/ADT-A03-01.hl7": DIED,
    "microsoft__FHIR-Converter/data/SampleData/Hl7v2/ADT-A03-02.hl7": DIED,
}

_NOT_DISCHARGES = {
    "from-test-code/Bugs5382__node-hl7": """
        ADT_A01_163cb9520e.hl7 ADT_A01_1cb06a7d9f.hl7 ADT_A01_2bd90e6290.hl7
        ADT_A01_2c9bf0b84d.hl7 ADT_A01_519b9a87a3.hl7 ADT_A01_540573be1a.hl7
        ADT_A01_576c78d4e7.hl7 ADT_A01_5aa549da27.hl7 ADT_A01_633cedf3e0.hl7
        ADT_A01_684db81751.hl7 ADT_A01_72e37cdf35.hl7 ADT_A01_732b506ff1.hl7
        ADT_A01_7fc29ef7bd.hl7 ADT_A01_a59952383a.hl7 ADT_A01_b20a446fc5.hl7
        ADT_A01_c6698e8338.hl7 ADT_A01_c804f08439.hl7 ADT_A01_e5a6ab888c.hl7
        ADT_A01_f6462e4e2f.hl7 ADT_A08_c993f533cf.hl7
    """,
    "from-test-code/LinuxForHealth__hl7v2-fhir-converter": """
        ADT_A01_0c2c8ab2d9.hl7 ADT_A01_1102bc54d3.hl7 ADT_A01_1289040d7e.hl7
        ADT_A01_1452f31b33.hl7 ADT_A01_1695f9eecf.hl7 ADT_A01_16e7510a96.hl7
        ADT_A01_196212438f.hl7 ADT_A01_2c8a5edd3f.hl7 ADT_A01_33340d41f7.hl7
        ADT_A01_367736c07f.hl7 ADT_A01_3720aaa227.hl7 ADT_A01_393c8f8ecb.hl7
        ADT_A01_3e6725d87c.hl7 ADT_A01_40017b7ba0.hl7 ADT_A01_40f4a3b834.hl7
        ADT_A01_4fff328f40.hl7 ADT_A01_50c317010b.hl7 ADT_A01_5143594cc3.hl7
        ADT_A01_543e405b4b.hl7 ADT_A01_5477f4fb21.hl7 ADT_A01_5596ea5f9c.hl7
        ADT_A01_5684b1408f.hl7 ADT_A01_571d4063dc.hl7 ADT_A01_591d93f294.hl7
        ADT_A01_655e83a021.hl7 ADT_A01_6a2270658a.hl7 ADT_A01_6a4ccb9e38.hl7
        ADT_A01_6c5495b9cc.hl7 ADT_A01_717d09f041.hl7 ADT_A01_7240af11e2.hl7
        ADT_A01_73a4ed1a60.hl7 ADT_A01_8231cfbff9.hl7 ADT_A01_857668c801.hl7
        ADT_A01_881e519f44.hl7 ADT_A01_88d5517fea.hl7 ADT_A01_88fc9a64c9.hl7
        ADT_A01_8aa7280311.hl7 ADT_A01_8dbc524417.hl7 ADT_A01_93b5658cc5.hl7
        ADT_A01_9cc77c6724.hl7 ADT_A01_a164b5cfb7.hl7 ADT_A01_a350bf321d.hl7
        ADT_A01_a427561b86.hl7 ADT_A01_a65792d0b1.hl7 ADT_A01_a6835da806.hl7
        ADT_A01_ac69ed2ed6.hl7 ADT_A01_acec2268fb.hl7 ADT_A01_b4f18d7b1e.hl7
        ADT_A01_b60d28e024.hl7 ADT_A01_b8240e7f15.hl7 ADT_A01_ba76c4e4a2.hl7
        ADT_A01_c011ae98ac.hl7 ADT_A01_c1521dfa44.hl7 ADT_A01_c3cfd600c9.hl7
        ADT_A01_c6a1b6d1c6.hl7 ADT_A01_c8651d180d.hl7 ADT_A01_ccacabb9c7.hl7
        ADT_A01_cd6a01a263.hl7 ADT_A01_d21064bf80.hl7 ADT_A01_d230dcbf5a.hl7
        ADT_A01_d50eabf386.hl7 ADT_A01_d61e138516.hl7 ADT_A01_d66ac330b1.hl7
        ADT_A01_e3fdcddc34.hl7 ADT_A01_e5ec2851bf.hl7 ADT_A01_e6db0e935f.hl7
        ADT_A01_e970662316.hl7 ADT_A01_ed11f06c46.hl7 ADT_A01_f0db326e48.hl7
        ADT_A01_f34820449c.hl7 ADT_A01_f6de49173f.hl7 ADT_A01_f8eb216286.hl7
        ADT_A01_fbf77a7ec5.hl7 ADT_A02_c11bab6289.hl7 ADT_A08_f8f183972b.hl7
        ADT_A18_0ea2c886a7.hl7 ADT_A34_52d97b825c.hl7 ADT_A40_301a5d150c.hl7
        ADT_A40_7d57a8c841.hl7 ADT_A40_a23c0533b9.hl7 ADT_A40_b1028c7360.hl7
    """,
    "from-test-code/johnpaulett__python-hl7": """
        ADT_A01_09bf504585.hl7 ADT_A04_19bc87db5a.hl7 ADT_A04_1e803d3e58.hl7
        ADT_A04_5e5f09e289.hl7 ADT_A04_619d03d826.hl7 ADT_A04_6ff8399e52.hl7
        ADT_A04_8280d37fec.hl7 ADT_A04_98d65bd981.hl7 ADT_A04_a009cf3856.hl7
        ADT_A04_b1d64c2f44.hl7 ADT_A04_b2ec6aa2b8.hl7 ADT_A04_b4bd47adf7.hl7
        ADT_A04_daaa06cb4e.hl7
    """,
    "google__simhospital/docs/artifacts": """
        messages.out
    """,
    "microsoft__FHIR-Converter/data/SampleData/Hl7v2": """
        ADT-A01-01.hl7 ADT-A01-02.hl7 ADT-A02-01.hl7 ADT-A02-02.hl7 ADT-A04-01.hl7
        ADT-A04-02.hl7 ADT-A05-01.hl7 ADT-A05-02.hl7 ADT-A06-01.hl7 ADT-A06-02.hl7
        ADT-A07-01.hl7 ADT-A07-02.hl7 ADT-A08-01.hl7 ADT-A08-02.hl7 ADT-A09-01.hl7
        ADT-A09-02.hl7 ADT-A10-01.hl7 ADT-A10-02.hl7 ADT-A11-01.hl7 ADT-A11-02.hl7
        ADT-A13-01.hl7 ADT-A13-02.hl7 ADT-A14-01.hl7 ADT-A14-02.hl7 ADT-A15-01.hl7
        ADT-A15-02.hl7 ADT-A16-01.hl7 ADT-A16-02.hl7 ADT-A25-01.hl7 ADT-A25-02.hl7
        ADT-A26-01.hl7 ADT-A26-02.hl7 ADT-A27-01.hl7 ADT-A27-02.hl7 ADT-A28-01.hl7
        ADT-A28-02.hl7 ADT-A29-01.hl7 ADT-A29-02.hl7 ADT-A31-01.hl7 ADT-A31-02.hl7
        ADT-A40-01.hl7 ADT-A40-02.hl7 ADT-A41-01.hl7 ADT-A41-02.hl7 ADT-A45-01.hl7
        ADT-A45-02.hl7 ADT-A47-01.hl7 ADT-A47-02.hl7 ADT-A60-01.hl7 ADT-A60-02.hl7
        ADT01-23.hl7 ADT01-28.hl7 ADT04-23.hl7 ADT04-251.hl7 ADT04-28.hl7 MDM_01.hl7
        SIU_12.hl7
    """,
    "microsoft__FHIR-Converter/src/Microsoft.Health.Fhir.Liquid.Converter.FunctionalTests"
    "/TestData/TimezoneHandling/Input": """
        Hl7v2TestTimezoneInput.hl7v2
    """,
    "rethinkhealth__hl7v2/examples/mllp-client/samples": """
        adt-a01.hl7
    """,
    "rethinkhealth__hl7v2/qa/fixtures": """
        adt-a01-basic.hl7 adt-a01-full.hl7 edge-crlf-line-endings.hl7
        edge-empty-segments.hl7 edge-escaped-delimiters.hl7 edge-field-repetitions.hl7
        edge-non-ascii.hl7 edge-z-segments.hl7 invalid-segment-header-length.hl7
        invalid-trailing-empty-fields.hl7 invalid-wrong-version.hl7
    """,
}

# Each message of a file is answered alike; all files but these hold one message.
MESSAGES_IN = {"google__simhospital/docs/artifacts/messages.out": 1013}

EXPECTED: dict[str, Answer] = _SINGLED_OUT | {
    f"{folder}/{name}": NOT_A_DISCHARGE
    for folder, names in _NOT_DISCHARGES.items()
    for name in names.split()
}

# SPDX-License-Identifier: GPL-2.0-or-later
"""JUnit's XML, by a schema of what pytest writes and Jenkins' plugins read, and by pytest's own order of elements."""

from lxml import etree  # type: ignore[import-untyped]

from switchover.report.junit import render_junit
from switchover.report.rundata import RunData

SCHEMA = """
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
  <xs:element name="testsuites"><xs:complexType>
    <xs:sequence><xs:element ref="testsuite" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>
    <xs:attribute name="name" type="xs:string"/>
  </xs:complexType></xs:element>
  <xs:element name="testsuite"><xs:complexType>
    <xs:sequence><xs:element ref="testcase" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>
    <xs:attribute name="name" type="xs:string" use="required"/>
    <xs:attribute name="tests" type="xs:nonNegativeInteger" use="required"/>
    <xs:attribute name="failures" type="xs:nonNegativeInteger" use="required"/>
    <xs:attribute name="errors" type="xs:nonNegativeInteger" use="required"/>
    <xs:attribute name="skipped" type="xs:nonNegativeInteger" use="required"/>
    <xs:attribute name="time" type="xs:decimal" use="required"/>
    <xs:attribute name="timestamp" type="xs:dateTime" use="required"/>
    <xs:attribute name="hostname" type="xs:string"/>
  </xs:complexType></xs:element>
  <xs:element name="testcase"><xs:complexType>
    <xs:sequence>
      <xs:element name="properties" minOccurs="0"><xs:complexType><xs:sequence>
        <xs:element name="property" maxOccurs="unbounded"><xs:complexType>
          <xs:attribute name="name" type="xs:string" use="required"/>
          <xs:attribute name="value" type="xs:string" use="required"/>
        </xs:complexType></xs:element>
      </xs:sequence></xs:complexType></xs:element>
      <xs:choice minOccurs="0">
        <xs:element name="failure" type="told"/>
        <xs:element name="error" type="told"/>
        <xs:element name="skipped" type="told"/>
      </xs:choice>
      <xs:element name="system-out" type="xs:string" minOccurs="0"/>
    </xs:sequence>
    <xs:attribute name="classname" type="xs:string" use="required"/>
    <xs:attribute name="name" type="xs:string" use="required"/>
    <xs:attribute name="time" type="xs:decimal" use="required"/>
  </xs:complexType></xs:element>
  <xs:complexType name="told"><xs:simpleContent><xs:extension base="xs:string">
    <xs:attribute name="message" type="xs:string"/>
  </xs:extension></xs:simpleContent></xs:complexType>
</xs:schema>
"""


def read(run: RunData) -> etree._Element:
    root = etree.fromstring(render_junit(run).encode())
    etree.XMLSchema(etree.fromstring(SCHEMA)).assertValid(root)
    return root


def list_properties(test: etree._Element) -> list[tuple[str, str]]:
    return [(str(one.get("name")), str(one.get("value"))) for one in test.iterfind("properties/property")]


def test_any_run_fits_the_schema(any_run: RunData) -> None:
    """A test case for each repeat, and suites that count them."""
    root = read(any_run)
    assert len(root.findall("testsuite/testcase")) == len(any_run.records)
    for suite in root.iterfind("testsuite"):
        for attribute, element in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(str(suite.get(attribute))) == len(suite.findall(f"testcase/{element}"))


def test_numbers_are_there_twice(planned: RunData) -> None:
    """As properties and in system-out; one that is missing is no property, and said in system-out."""
    first = read(planned).findall("testsuite/testcase")[0]
    found = dict(list_properties(first))
    assert found["downtime.explained"] == "0.25"
    assert found["downtime.explained.unit"] == "s"
    assert "bytes.wire" not in found
    out = first.findtext("system-out") or ""
    assert "\ndowntime.explained=0.25 s\n" in out
    assert "\nbytes.wire=missing" in out


def test_files_are_named_from_where_the_report_is(planned: RunData) -> None:
    """Each attachment is there, beside junit.xml."""
    tests = read(planned).findall("testsuite/testcase")
    files = [value for test in tests for name, value in list_properties(test) if name == "attachment"]
    assert "device.pre_copy=off/01/source.events.jsonl" in files
    assert all((planned.directory.path / file).is_file() for file in files)


def test_hops_and_hosts(chained: RunData, odd: RunData) -> None:
    """Numbers of a hop say which; hosts of all repeats are the suite's, without what XML cannot hold."""
    found = dict(list_properties(read(chained).findall("testsuite/testcase")[0]))
    assert (found["hop 1 downtime.explained"], found["hop 2 downtime.explained"]) == ("0.25", "0.5")
    assert read(odd).findall("testsuite")[0].get("hostname") == "h<�"

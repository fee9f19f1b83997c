"""The table of faults is made from the results of tests."""

import pytest

from tests.soak import table

RESULTS = """<testsuites><testsuite>
<testcase name="a"><properties><property name="fault" value="kill"/>
  <property name="tried" value="7"/></properties></testcase>
<testcase name="b"><properties><property name="fault" value="flip"/>
  </properties><failure message="no"/></testcase>
<testcase name="c"><properties><property name="fault" value="flip"/>
  </properties></testcase>
<testcase name="d"><properties><property name="fault" value="kill"/>
  </properties><skipped/></testcase>
<testcase name="e"/>
</testsuite></testsuites>"""
TABLE = """\
| fault | tried | survived | lost |
|---|---|---|---|
| kill | 7 | 7 | 0 |
| flip | 2 | 1 | 1 |
| **all** | 9 | 8 | 1 |
"""


def test_table_counts_what_was_tried_and_lost():
  assert table.table(RESULTS) == TABLE


def test_table_replaces_the_old_one():
  old = "# A\n<!-- begin: make soak -->\nold\n<!-- end: make soak -->\nZ\n"
  new = table.replace(old, TABLE)
  assert new == old.replace("old\n", TABLE)
  assert table.replace(new, TABLE) == new
  with pytest.raises(ValueError, match="expected the lines"):
    table.replace("# A\n", TABLE)


def test_document_has_a_table_without_a_loss():
  document = table.DOCUMENT.read_text(encoding="utf-8")
  (total,) = [x for x in document.splitlines() if x.startswith("| **all** |")]
  assert total.endswith("| 0 |")

"""The report of a corpus as one page of HTML: charts, tables and sample clips, with no need of a network."""

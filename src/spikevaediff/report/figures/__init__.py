"""One module for each kind of picture, with the table that it shows.

`report.results` calls them and says which files of plots/ they become; `report.page` puts these on the page.
"""

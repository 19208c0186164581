"""The report's page: template, style, script, and the charts and layers in it."""
